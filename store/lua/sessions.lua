-- sessions lists the live sessions of a subject and drops index members whose record is gone.
--
-- KEYS  1 the subject's index  2 the subject's not-before
--       and, undeclared but of the same slot, the session keys that the index names
-- ARGV  1 subject  2 prefix of session keys
-- reply {{ID, created, absolute expiry, newest issue time, generation, authentication time, device, frozen, idle ms}, …}
local n = notbefore(KEYS[2])
local index = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local list = {}
for i = 1, #index, 2 do
	local id, time = index[i], score(index[i + 1])
	if time < 0 then -- ended, not yet announced: see end_others.lua
		if -time < now then
			redis.call('ZREM', KEYS[1], id)
		end
	else
		local r = fields(ARGV[2] .. id, 'id', 'u', 'c', 'a', 't', 'g', 'at', 'd', 'z', 'i')
		if live(r, id, ARGV[1], n) then
			list[#list + 1] = {id, r[3], r[4], r[5] or '0', r[6] or '0', r[7] or '0', r[8] or '', r[9] and '1' or '0', r[10] or '0'}
		else
			sure(ARGV[2] .. id, KEYS[1])
			redis.call('ZREM', KEYS[1], id)
		end
	end
end
return list
