-- save applies operations to a live record's application fields: all of them, or none. It goes on in save_all.lua.
--
-- KEYS  1 session  2 the subject's not-before
-- ARGV  1 session ID  2 subject  3 generation of the access token ('0' = none)  4… operations (ops.lua)
-- reply {1, value, …}, one value for each operation; the value itself, if there is one operation and it answers one; 1 if none of them answers
--       anything; or a code: 0 absent, dead or frozen, -1 … -3 as in ops.lua
--
-- Keeps promises 1 and 2: it creates nothing, so a late save brings no ended session back; only the touched fields travel,
-- so saves of different fields both win; increments, takes and conditions are judged where nothing can come between.
--
-- This is the hot path of a web application, where each field that is read costs, and each function that is called. The clock is not asked whether
-- the absolute life is over: whoever writes a makes the key expire no later, in the same step, so such a record is absent. A usual save, of one field
-- while nothing else is due, reads no more than it has to, and what others need comes after it, because Lua makes a function anew whenever it passes one.
local key, call, operation, field = KEYS[1], redis.call, ARGV[4], ARGV[5]
local look = operation ~= 's' and field or 'z' -- a set does not need what was there
local r = redis.pcall('HMGET', key, 'id', 'u', 'z', 'k', 'c', 'a', look)
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] or r[3] then -- none, another one, frozen, or {err = …} for a key of another type
	return 0
end
local n = call('GET', KEYS[2])
local created, expires = r[5] or ':', r[6] or ':' -- which comes after every digit: a record without numbers there is no session
if created < '1' or created >= ':' or expires < '1' or expires >= ':' or n and tonumber(created) <= (tonumber(n) or error('not-before is not a number')) then
	return 0
end
local arrived = r[4] == '0' and ARGV[3] ~= '0' and call('HGET', key, 'g') == ARGV[3]

if not arrived and #operation < 3 then -- one; whatever is none of these goes the long way
	local was, value, answer, length = r[7], nil, nil, nil
	if operation == 's' then
		value, length = ARGV[6], call('HSTRLEN', key, field)
		was = length > 0 or call('HEXISTS', key, field) == 1
	elseif operation == 'ps' or operation == 'as' then
		value, length = ARGV[#ARGV], was and #was or 0
		if was ~= (operation == 'ps' and ARGV[6]) then
			return -1
		end
	elseif operation == 'i' then
		length = was and #was or 0
		if #ARGV[6] < 16 and length < 16 and (not was or was == '0' or string.find(was, '^%-?[1-9]%d*$')) then
			answer = string.format('%.0f', (tonumber(was) or 0) + tonumber(ARGV[6]))
			value = answer
		end
	end
	if value then
		local more = #value - length + (was and 0 or #field - 2)
		if more == 0 then
			call('HSET', key, field, value)
		else
			local total = (tonumber(call('HGET', key, 'b')) or 0) + more
			if total > budget and more > 0 then
				return -2
			end
			call('HSET', key, field, value, 'b', string.format('%.0f', total))
		end
		return answer or 1
	end
end
local used = tonumber(call('HGET', key, 'b')) or 0

local function num(n) -- as in head.lua
	return string.format('%.0f', n)
end
