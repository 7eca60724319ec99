-- freeze stops writes and renewals of a record for good and answers it: the last state it will ever have.
--
-- KEYS  1 session  2 the subject's not-before
-- ARGV  1 session ID  2 subject
-- reply {1, now, {field, value, …}} or {0}
--
-- Keeps promise 2 across a login: no increment is acknowledged on the old record after its fields were copied to the new one.
local r = fields(KEYS[1], 'id', 'u', 'c', 'a', 'z')
if not live(r, ARGV[1], ARGV[2], notbefore(KEYS[2])) then
	return {0}
end
if not r[5] then
	redis.call('HSET', KEYS[1], 'z', num(now))
end
return {1, num(now), redis.call('HGETALL', KEYS[1])}
