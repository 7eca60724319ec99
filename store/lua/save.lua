-- save applies operations to a live record's application fields: all of them, or none. It goes on in save_all.lua.
--
-- KEYS  1 session  2 the subject's not-before
-- ARGV  1 session ID  2 subject  3 generation of the access token ('0' = none)  4… operations (ops.lua)
-- reply {1, value, …}, one value for each operation, or 1 if none of them answers anything; or a code: 0 absent, dead or frozen, -1 … -3 as in ops.lua
--
-- Keeps promises 1 and 2: it creates nothing, so a late save brings no ended session back; only the touched fields travel,
-- so saves of different fields both win; increments, takes and conditions are judged where nothing can come between.
--
-- This is the hot path of a web application, where each field that is read costs. The clock is not asked whether the absolute life is over: whoever
-- writes a makes the key expire no later, in the same step, so such a record is absent. And what the usual save, of one field, does not need comes
-- after it, because Lua makes a function anew whenever it passes one.
local key, call = KEYS[1], redis.call
local r = redis.pcall('HMGET', key, 'id', 'u', 'z', 'k', 'b', 'c', 'a')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] or r[3] then -- none, another one, frozen, or {err = …} for a key of another type
	return 0
end
local created, notbefore = tonumber(r[6]), call('GET', KEYS[2])
if not created or not tonumber(r[7]) or notbefore and created <= (tonumber(notbefore) or error('not-before is not a number')) then
	return 0
end
local arrived, used = ARGV[3] ~= '0' and r[4] == '0' and call('HGET', key, 'g') == ARGV[3], tonumber(r[5]) or 0

local operation = ARGV[4]
if #operation < 3 and not arrived then -- one; whatever is none of these goes the long way
	local field, was, length, value, answer = ARGV[5], false, 0, nil, nil
	if operation == 's' then
		value, length = ARGV[6], call('HSTRLEN', key, field)
		was = length > 0 or call('HEXISTS', key, field) == 1
	elseif operation == 'ps' or operation == 'as' then
		was, value = call('HGET', key, field), ARGV[#ARGV]
		if was ~= (operation == 'ps' and ARGV[6]) then
			return -1
		end
		length = was and #was or 0
	elseif operation == 'i' then
		was = call('HGET', key, field)
		length = was and #was or 0
		if #ARGV[6] < 16 and length < 16 and (not was or was == '0' or string.find(was, '^%-?[1-9]%d*$')) then
			answer = string.format('%.0f', (tonumber(was) or 0) + tonumber(ARGV[6]))
			value = answer
		end
	end
	if value then
		local total = used + #value - length + (was and 0 or #field - 2)
		if total == used then
			call('HSET', key, field, value)
		elseif total > budget and total > used then
			return -2
		else
			call('HSET', key, field, value, 'b', string.format('%.0f', total))
		end
		return answer and {1, answer} or 1
	end
end

local function num(n) -- as in head.lua
	return string.format('%.0f', n)
end
