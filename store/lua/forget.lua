-- forget makes the index forget ended sessions: their ends are in the log now. It ends nothing.
--
-- KEYS  1 the subject's index
-- ARGV  1… session IDs
-- reply now
--
-- A member that is not waiting to be announced (end_others.lua) is left alone: a session that lives cannot be unlisted by a mistake.
for _, id in ipairs(ARGV) do
	local time = redis.call('ZSCORE', KEYS[1], id)
	if time and score(time) < 0 then
		redis.call('ZREM', KEYS[1], id)
	end
end
return num(now)
