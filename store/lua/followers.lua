-- followers lists who follows the log and how far they are, and forgets those that have been silent for too long.
--
-- KEYS  1 edges
-- ARGV  1 ms of silence after which one is forgotten
-- reply {follower, position, ms of silence, …}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
local live = {}
for i = 1, #all, 2 do
	local at, time = string.match(all[i + 1], '^(%S+) (%d+)$')
	local silent = time and now - tonumber(time)
	if all[i] == ' ' then -- when report.lua last looked for the silent
	elseif not silent or math.abs(silent) > tonumber(ARGV[1]) then
		redis.call('HDEL', KEYS[1], all[i])
	else
		local n = #live
		live[n + 1], live[n + 2], live[n + 3] = all[i], at, string.format('%.0f', math.max(0, silent))
	end
end
return live
