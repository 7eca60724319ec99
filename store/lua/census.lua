-- The opening of the scripts about who follows the log.
--
-- A report is kept as "<position> <ms> <age>": what the follower said last, when that was by this node's clock, and how many ms before that it came
-- to know of it. Without an age it was at once.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local SWEPT = ' ' -- the field that says when the silent were last looked for: no follower's name has a space
local UNKNOWN = 24 * 3600 * 1000 -- the age of what may have been known at any time: it confirms nothing

-- note keeps a report that is made now.
local function note(follower, at, age)
	redis.call('HSET', KEYS[1], follower, at .. string.format(' %.0f %.0f', now, age))
end

-- heard reads a report: the position, ms of silence since, and the age; nothing if it is none. What was reported in the future was so before the clock stepped
-- back. Its follower may live, and whoever waits would take it for gone if it was forgotten. So it counts as silent from now on, and confirms nothing.
local function heard(follower, report)
	local at, time, age = string.match(report, '^(%S+) (%d+) ?(%d*)$')
	if not at then
		return nil
	end
	local silent = now - tonumber(time)
	if silent < 0 then
		note(follower, at, UNKNOWN)
		return at, 0, UNKNOWN
	end
	return at, silent, tonumber(age) or 0
end

