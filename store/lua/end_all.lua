-- end_all ends all sessions of a subject, listed or not.
--
-- KEYS  1 the subject's not-before  2 the subject's index
--       and, undeclared but of the same slot, the session keys that the index names
-- ARGV  1 prefix of session keys  2 how long the not-before is kept, ms: longer than any session of the subject can live
-- reply {now, not-before}
--
-- Keeps promise 1: the not-before decides, so that a session that the index lost is dead as well. It is no earlier than the newest time
-- handed out in a token of the listed sessions, so that a clock that stepped back spares none of them, nor a
-- token that does not say when its session began.
local n = now
local old = redis.pcall('GET', KEYS[1])
if type(old) == 'string' then
	n = math.max(n, tonumber(old) or 0)
end
local ids = redis.pcall('ZRANGE', KEYS[2], 0, -1)
if ids.err then
	ids = {} -- the index only lists; a broken one must not keep anybody logged in
end
for _, id in ipairs(ids) do -- nothing is written before all are known to be here
	n = math.max(n, newest(ARGV[1] .. id, KEYS[2]))
end
for _, id in ipairs(ids) do
	redis.call('UNLINK', ARGV[1] .. id)
end
redis.call('UNLINK', KEYS[2]) -- before SET: a script whose first write frees memory may end sessions in a full server
redis.call('SET', KEYS[1], num(n), 'PX', ARGV[2])
return {num(now), num(n)}
