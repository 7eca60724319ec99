-- end_one ends one session, whatever its key holds.
--
-- KEYS  1 session  2 the subject's index
-- ARGV  1 session ID  2 subject, as subject.lua just read it ('' = anonymous, or no record)
-- reply {1, time}, or {0, subject}: the record is another subject's now, ask again
--
-- Keeps promise 1: afterwards there is no record, and nothing but create makes one.
local r = fields(KEYS[1], 'u', 't')
if r and r[1] and r[1] ~= ARGV[2] then
	return {0, r[1]}
end
redis.call('UNLINK', KEYS[1])
if ARGV[2] ~= '' then
	redis.pcall('ZREM', KEYS[2], ARGV[1])
end
return {1, num(math.max(now, r and tonumber(r[2]) or 0))}
