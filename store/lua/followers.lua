-- followers lists who follows the log and how far they are, and forgets those that have been silent for too long.
--
-- KEYS  1 edges  2 log
-- ARGV  1 ms of silence after which one is forgotten  2 the ID of a record, '' = of none  3 the entry in it
-- reply {1 if the log holds that entry in that record, otherwise 0, follower, position, ms since it came to know of that, 1 if the log has a record there,
--       otherwise 0, …}
--
-- IDs are compared by number, and a replica that is promoted gives later ones than that of a record which it lacks. So whether the log is the one that the
-- record was appended to, and that a follower has read, is looked at in the same step.
local known = {}
local function record(id) -- what is in a record; false if there is none
	if known[id] == nil then
		local r = redis.pcall('XRANGE', KEYS[2], id, id)
		r = not r.err and r[1]
		known[id] = r and {} or false
		if r then
			for i = 1, #r[2], 2 do
				if r[2][i] == 'r' then
					known[id].entry = r[2][i + 1]
				end
			end
		end
	end
	return known[id]
end

local all = redis.call('HGETALL', KEYS[1])
local asked = ARGV[2] ~= '' and record(ARGV[2])
local live = {asked and asked.entry == ARGV[3] and 1 or 0}
for i = 1, #all, 2 do
	if all[i] ~= SWEPT then
		local at, silent, age = heard(all[i], all[i + 1])
		if not at or silent > tonumber(ARGV[1]) then
			redis.call('HDEL', KEYS[1], all[i])
		else
			local n = #live
			live[n + 1], live[n + 2], live[n + 3], live[n + 4] = all[i], at, string.format('%.0f', silent + age), record(at) and 1 or 0
		end
	end
end
return live
