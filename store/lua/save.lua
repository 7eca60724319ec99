-- save applies operations to a live record's application fields: all of them, or none.
--
-- KEYS  1 session  2 the subject's not-before
-- ARGV  1 session ID  2 subject  3 generation of the access token ('0' = none)  4 budget in bytes  5… operations (ops.lua)
-- reply {1, now, {value, …}}, or {code}: 0 absent, dead or frozen, -1 … -3 as in ops.lua
--
-- Keeps promises 1 and 2: it creates nothing, so a late save brings no ended session back; only the touched fields travel,
-- so saves of different fields both win; increments, takes and conditions are judged where nothing can come between.
local r = fields(KEYS[1], 'id', 'u', 'c', 'a', 'g', 'k', 'z', 'b')
if not live(r, ARGV[1], ARGV[2], notbefore(KEYS[2])) or r[7] then
	return {0}
end
local code, out = apply(KEYS[1], 5, tonumber(r[8]) or 0, tonumber(ARGV[4]), false)
if code ~= 1 then
	return {code}
end
if r[6] == '0' and r[5] == ARGV[3] then
	redis.call('HSET', KEYS[1], 'k', num(now))
end
return {1, now, out}
