-- end_one ends one session, whatever its key holds.
--
-- KEYS  1 session  2 the subject's index
-- ARGV  1 session ID  2 subject, as subject.lua just read it ('' = anonymous, or no record)  3 '1' = a WAIT for replicas follows
-- reply {1, time}, or {0, subject}: the record is another subject's now, ask again
--
-- Keeps promise 1: afterwards there is no record, and nothing but create makes one. And promise 5: where a WAIT follows it always writes. WAIT waits
-- for what its own connection has written, so after a step that found nothing to end it would answer at once, although the replicas
-- may not know yet that the session was ended by somebody else, or by the try before this one.
local r = fields(KEYS[1], 'u', 't')
if r and r[1] and r[1] ~= ARGV[2] then
	return {0, r[1]}
end
if redis.call('UNLINK', KEYS[1]) == 0 and ARGV[3] == '1' then
	redis.call('SET', KEYS[1], '')
	redis.call('UNLINK', KEYS[1])
end
if ARGV[2] ~= '' then
	redis.pcall('ZREM', KEYS[2], ARGV[1])
end
return {1, num(math.max(now, r and tonumber(r[2]) or 0))}
