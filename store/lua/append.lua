-- append appends entries to the revocation log, or a heartbeat.
--
-- KEYS  1 log  2 meta
-- ARGV  1 horizon ms  2 a heartbeat is written only if the newest record is older than this, ms
--       3 skew ms: the most by which the newest record may differ from this node's clock
--       4 margin ms, added to the birth of an epoch  5 the name of a new epoch, should one begin
--       6… four strings for each entry: its bytes; its time in ms, '' = it never expires; the meta field that keeps it
--       for good: '' none, n everything-not-before, k:<kid> a revoked key; its value for n, ms
-- reply {1, ID of the newest record, epoch, the time of this node in ms}, or {-1, index}: that entry is past the horizon; nothing was appended
--
-- Keeps promises 4 and 5. A revocation matters until the newest token it can hit has expired, so trimming by age makes no harmful gap.
-- Each record names the one before (p); meta keeps the newest ID (l). If they disagree, or the newest record is far from this node's
-- clock, the log cannot vouch for what was in it: a new epoch begins (e), and with it a new birth (b), before which it vouches for nothing.
-- Records ahead of the clock would make every later ID a time in the future, so there the stream goes first.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function num(n) -- as in head.lua
	return string.format('%.0f', n)
end
local horizon, heartbeat, skew, margin = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
local time = tonumber(string.match(last, '^%d+'))
local meta = redis.call('HMGET', KEYS[2], 'e', 'l', 'n')
local epoch = meta[1]
local begins = not epoch or meta[2] ~= last or math.abs(now - time) > skew

if #ARGV == 5 and not begins and now - time < heartbeat then
	return {1, last, epoch, num(now)}
end
for i = 6, #ARGV, 4 do
	if ARGV[i + 1] ~= '' and tonumber(ARGV[i + 1]) + horizon <= now then
		return {-1, (i - 6) / 4}
	end
end

local function add(entry)
	local id
	if begins then
		if time - now > skew then
			redis.call('UNLINK', KEYS[1])
		end
		epoch = ARGV[5]
		id = redis.call('XADD', KEYS[1], '*', 'r', entry, 'p', '0-0', 'e', epoch)
		redis.call('HSET', KEYS[2], 'e', epoch, 'b', num(now + margin))
		begins = false
	else
		id = redis.call('XADD', KEYS[1], 'MINID', '~', num(now - horizon), '*', 'r', entry, 'p', last)
	end
	last = id
end

if #ARGV == 5 then
	add('')
end
local n = tonumber(meta[3]) or 0
for i = 6, #ARGV, 4 do
	local field, value = ARGV[i + 2], tonumber(ARGV[i + 3])
	add(ARGV[i])
	if field == 'n' then
		if value > n then
			n = value
			redis.call('HSET', KEYS[2], 'n', num(value), 'na', ARGV[i])
		end
	elseif field ~= '' then
		redis.call('HSETNX', KEYS[2], field, ARGV[i])
	end
end
redis.call('HSET', KEYS[2], 'l', last)
return {1, last, epoch, num(now)}
