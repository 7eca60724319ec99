-- confirm notes that the current generation has arrived: it closes the window of the previous one.
--
-- KEYS  1 session  2 the subject's not-before
-- ARGV  1 session ID  2 subject  3 generation of the access token that came with the request
-- reply {1}, or {0} absent or dead
--
-- It writes at most once for each generation.
local r = fields(KEYS[1], 'id', 'u', 'c', 'a', 'g', 'k', 'z')
if not live(r, ARGV[1], ARGV[2], notbefore(KEYS[2])) then
	return {0}
end
if r[6] == '0' and r[5] == ARGV[3] and not r[7] then
	redis.call('HSET', KEYS[1], 'k', num(now))
end
return {1}
