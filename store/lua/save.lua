-- save applies operations to application fields of live records: for each record all of them, or none. It goes on in save_all.lua.
--
-- KEYS  for each save: session; then for each: the subject's not-before
-- ARGV  for each save: session ID, subject, generation of the access token ('0' = none), operations (ops.lua)
-- reply of one save: {1, value, …}, one value for each operation; the value itself, if there is one operation and it answers one; 1 if none of them
--       answers anything; a code: 0 absent, dead or frozen, -1 … -3 as in ops.lua; or an error. Of several saves: a list of such replies.
--
-- Keeps promises 1 and 2: it creates nothing, so a late save brings no ended session back; only the touched fields travel,
-- so saves of different fields both win; increments, takes and conditions are judged where nothing can come between.
-- Saves that share a run are of callers who wait at the same time, so their order is nobody's business, and the error of one is not the others'.
--
-- This is the hot path of a web application, where each field that is read costs, and each function that is called. The clock is not asked whether
-- the absolute life is over: whoever writes a makes the key expire no later, in the same step, so such a record is absent. A usual save, of one field
-- while nothing else is due, reads no more than it has to, and what others need comes after it, because Lua makes a function anew whenever it passes one.
local KEYS, ARGV, call, pcall = KEYS, ARGV, redis.call, redis.pcall

-- save carries out the save whose arguments begin at ARGV[at], and returns its reply; nil if it must go the long way, and then whether the current
-- generation has arrived with it. notbefore is false if there is none.
local function save(key, notbefore, at)
	local operation, field = ARGV[at + 3], ARGV[at + 4]
	local look = operation ~= 's' and field or 'z' -- a set does not need what was there
	local r = pcall('HMGET', key, 'id', 'u', 'z', 'k', 'c', 'a', look)
	if r[1] ~= ARGV[at] or r[2] ~= ARGV[at + 1] or r[3] then -- none, another one, frozen, or {err = …}
		return r.err and not string.find(r.err, 'WRONGTYPE', 1, true) and r or 0 -- a key of another type holds no session; other errors say nothing of it
	end
	local created, expires = r[5] or ':', r[6] or ':' -- which comes after every digit: a record without numbers there is no session
	if created < '1' or created >= ':' or expires < '1' or expires >= ':' then
		return 0
	end
	local n = notbefore and pcall('GET', notbefore)
	if n then
		if type(n) == 'table' then -- a key of another type; guessing would revive the dead, and so it would below
			return n
		elseif not tonumber(n) then
			return redis.error_reply('ERR not-before is not a number')
		elseif tonumber(created) <= tonumber(n) then
			return 0
		end
	end
	if r[4] == '0' and ARGV[at + 2] ~= '0' and call('HGET', key, 'g') == ARGV[at + 2] then
		return nil, true
	end

	local was, value, answer, length = r[7], nil, nil, nil
	if operation == 's' then
		value, length = ARGV[at + 5], call('HSTRLEN', key, field)
		was = length > 0 or call('HEXISTS', key, field) == 1
	elseif operation == 'as' or operation == 'ps' then
		local present = operation == 'ps' and 1 or 0
		value, length = ARGV[at + 5 + present], was and #was or 0
		if was ~= (present == 1 and ARGV[at + 5]) then
			return -1
		end
	elseif operation == 'i' then
		local by = ARGV[at + 5]
		length = was and #was or 0
		if #by < 16 and length < 16 and (not was or was == '0' or string.find(was, '^%-?[1-9]%d*$')) then
			answer = string.format('%.0f', (tonumber(was) or 0) + tonumber(by))
			value = answer
		end
	end
	if not value then
		return nil, false
	end
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

local replies, long -- long: which saves go the long way, where their arguments begin, whether the generation has arrived
if #KEYS == 2 then
	local reply, arrived = save(KEYS[1], KEYS[2], 1)
	if reply then
		return reply
	end
	replies, long = {}, {{1, 1, arrived}}
else
	replies, long = {}, {}
	local at, widths, saves = 1, {s = 2, i = 2, d = 1, t = 1, a = 0, p = 1}, #KEYS / 2
	local any = call('EXISTS', unpack(KEYS, saves + 1)) > 0 -- few subjects have a not-before
	for i = 1, saves do
		local reply, arrived = save(KEYS[i], any and KEYS[saves + i], at)
		if not reply then
			long[#long + 1] = {i, at, arrived}
		end
		replies[i] = reply or 0
		local operations = ARGV[at + 3]
		at = at + 4
		if operations == 's' or operations == 'i' then
			at = at + 2
		else
			for letter in string.gmatch(operations, '.') do
				at = at + widths[letter]
			end
		end
	end
	if #long == 0 then
		return replies
	end
end

local function num(n) -- as in head.lua
	return string.format('%.0f', n)
end
