-- followers lists who follows the log and how far they are, and forgets those that have been silent for too long.
--
-- KEYS  1 edges
-- ARGV  1 ms of silence after which one is forgotten
-- reply {follower, position, ms since it came to know of that, …}
local all = redis.call('HGETALL', KEYS[1])
local live = {}
for i = 1, #all, 2 do
	if all[i] ~= SWEPT then
		local at, silent, age = heard(all[i], all[i + 1])
		if not at or silent > tonumber(ARGV[1]) then
			redis.call('HDEL', KEYS[1], all[i])
		else
			local n = #live
			live[n + 1], live[n + 2], live[n + 3] = all[i], at, string.format('%.0f', silent + age)
		end
	end
end
return live
