-- append appends entries to the revocation log, or a heartbeat.
--
-- KEYS  1 log  2 meta
-- ARGV  1 horizon ms  2 a heartbeat is written only if the newest record is older than this, ms
--       3 skew ms: the most by which the newest record may differ from this node's clock
--       4 margin ms, added to the birth of an epoch  5 the name of a new epoch, should one begin
--       6 the time of the newest record that this writer knows the replicas to have, ms, 0 = of none; '' = it does not wait for replicas
--       7… four strings for each entry: its bytes; its time in ms, '' = it never expires; the meta field that keeps it
--       for good: '' none, n everything-not-before, k:<kid> a revoked key; its value for n, ms
-- reply {1, ID of the newest record, epoch, the time of the log in ms}, or {-1, index}: that entry is past the horizon; nothing was appended. The time is
--       this node's, or that of the newest record where the clock has stepped back: what is to end everything until now must not miss what began by the
--       clock before
--
-- Keeps promises 4 and 5. A revocation matters until the newest token from before it has expired, so trimming by age makes no harmful gap.
-- Each record names the one before (p); meta keeps the newest ID (l). If they disagree, or the newest record is far from this node's
-- clock, the log cannot vouch for what was in it: a new epoch begins (e), and with it a new birth (b), before which it vouches for nothing.
-- Records ahead of the clock would make every later ID a time in the future, so there the stream goes first.
--
-- What the replicas have (a) is said by every heartbeat and otherwise once per heartbeat interval, so that lists grow old when replicas fall behind,
-- however busy the log is. meta keeps what any writer knows them to have (r), when it was last said (s), and when a writer that waits for replicas
-- was last here (t): as long as there is one, writers that do not wait say it too, for a list must not look young because it was their turn.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function num(n) -- as in head.lua
	return string.format('%.0f', n)
end
local horizon, heartbeat, skew, margin = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
local time = tonumber(string.match(last, '^%d+'))
local meta = redis.call('HMGET', KEYS[2], 'e', 'l', 'n', 'r', 's', 't')
local epoch = meta[1]
local begins = not epoch or meta[2] ~= last or math.abs(now - time) > skew

local function since(i)
	return math.abs(now - (tonumber(meta[i]) or 0))
end
local waits = ARGV[6] ~= ''
local acked
if waits or since(6) < 3 * heartbeat then
	acked = tonumber(ARGV[6]) or 0
	if acked > time then -- of another history of the log, before the clock stepped back: it says nothing of this one
		acked = 0
	end
	acked = math.min(math.max(acked, tonumber(meta[4]) or 0), time) -- not later than the newest record
	if begins or acked < 1 then
		acked = 1 -- of this epoch they have nothing yet; 0 would mean that nobody asks them
	end
end
local function note() -- always a write: WAIT waits for what its own connection has written
	if waits then
		redis.call('HSET', KEYS[2], 'r', num(acked), 't', num(now))
	end
end

if #ARGV == 6 and not begins and now - time < heartbeat then
	note()
	return {1, last, epoch, num(math.max(now, time))}
end
for i = 7, #ARGV, 4 do
	if ARGV[i + 1] ~= '' and tonumber(ARGV[i + 1]) + horizon <= now then
		return {-1, (i - 7) / 4}
	end
end

local says = acked and (begins or #ARGV == 6 or since(5) >= heartbeat)
local function add(entry)
	local record = {'r', entry, 'p', begins and '0-0' or last}
	if says then
		record[5], record[6] = 'a', num(acked)
		redis.call('HSET', KEYS[2], 's', num(now))
		says = false
	end
	if begins then
		if time - now > skew then
			redis.call('UNLINK', KEYS[1])
		end
		epoch = ARGV[5]
		local n = #record
		record[n + 1], record[n + 2] = 'e', epoch
		last = redis.call('XADD', KEYS[1], '*', unpack(record))
		redis.call('HSET', KEYS[2], 'e', epoch, 'b', num(now + margin))
		begins = false
	else
		last = redis.call('XADD', KEYS[1], 'MINID', '~', num(now - horizon), '*', unpack(record))
	end
end

if #ARGV == 6 then
	add('')
end
local n = tonumber(meta[3]) or 0
for i = 7, #ARGV, 4 do
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
note()
return {1, last, epoch, num(math.max(now, tonumber(string.match(last, '^%d+'))))}
