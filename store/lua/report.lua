-- report notes how far a follower of the log is, or forgets it.
--
-- KEYS  1 edges
-- ARGV  1 follower  2 its position, '' = forget the follower  3 ms of silence after which one is forgotten  4 the most that are kept
--       5 ms since it came to know of what it reports
-- reply 1, or 0: there is no room for another one
--
-- Serves whoever revokes and waits until all know. A follower that reported is never dropped for another one: whoever waits would take the silence for
-- consent. Where there is no room those are dropped that have been silent for too long, which is looked for once a second.
if ARGV[2] == '' then
	redis.call('HDEL', KEYS[1], ARGV[1])
	return 1
end
local function full()
	local n = redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], SWEPT)
	return n >= tonumber(ARGV[4]) and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
end
if full() then
	local swept = redis.call('HGET', KEYS[1], SWEPT)
	if swept and math.abs(now - tonumber(swept)) < 1000 then
		return 0
	end
	redis.call('HSET', KEYS[1], SWEPT, string.format('%.0f', now))
	local all = redis.call('HGETALL', KEYS[1])
	for i = 1, #all, 2 do
		if all[i] ~= SWEPT then
			local at, silent = heard(all[i], all[i + 1])
			if not at or silent > tonumber(ARGV[3]) then
				redis.call('HDEL', KEYS[1], all[i])
			end
		end
	end
	if full() then
		return 0
	end
end
note(ARGV[1], ARGV[2], tonumber(ARGV[5]))
return 1
