-- create makes a session's record and keeps its subject's cap.
--
-- KEYS  1 session  2 the subject's not-before  3 the subject's index
--       and, undeclared but of the same slot, the session keys that the index names, and that of what is replaced
-- ARGV  1 session ID  2 subject ('' = anonymous)  3 prefix of session keys  4 idle ms  5 absolute ms
--       6 latest absolute expiry (0 = none)  7 authentication time (0 = never, -1 = now)
--       8 device  9 cap (0 = none)  10 the session that it replaces ('' = none)  11 '1' = its operations are within another session's budget
--       12… operations (ops.lua)
-- reply {1, issue time, absolute expiry, {value, …}, {evicted ID, …}, when those ended: no earlier than any time handed out in a token of theirs,
--       created}, or {code}: 0 nothing of its life is left, or what it replaces has ended, -1 … -3 as in ops.lua, -4 the ID was used before
--
-- Keeps promise 1: a session begins after its subject's not-before, so that ending all sessions never hits a later login and
-- no earlier session outlives it. An ID that is in use is refused, never taken over (fixation). What was ended after it was frozen, by whomever, is
-- replaced by nothing: a session does not survive its end under another ID. Nor does it on a master that has not
-- heard of that end: without a new proof of who it is it goes on as old as it was, so a not-before that would have met it meets what replaces it.
if redis.call('EXISTS', KEYS[1]) == 1 then
	return {-4}
end
local sid, subject, base = ARGV[1], ARGV[2], ARGV[3]
local n = notbefore(KEYS[2])
local at = math.max(now, n + 1)
local created = at
if ARGV[10] ~= '' then
	local r = fields(base .. ARGV[10], 'id', 'u', 'c', 'a', 'z')
	if not live(r, ARGV[10], subject, n) or not r[5] then
		return {0}
	end
	if ARGV[7] ~= '-1' then
		created = tonumber(r[3])
		at = math.max(at, created) -- where the clock stepped back
	end
end
local expires = at + ARGV[5]
local latest = tonumber(ARGV[6])
if latest > 0 and latest < expires then
	expires = latest
end
if expires <= at then
	return {0}
end

-- The other sessions of the subject, read before anything is written. A frozen one is being replaced by this very step or was
-- left by a crash: it can neither be written nor renewed, so it is neither counted nor ended here. One that is not found is not on another node, see sure
-- in head.lua: while the slot is on its way Redis refuses this script, because KEYS[1] is on neither.
local others, gone = {}, {}
if subject ~= '' then
	local index = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
	for i = 1, #index, 2 do
		local id, time = index[i], score(index[i + 1])
		if time < 0 then -- ended, not yet announced: see end_others.lua
			if -time < now then
				gone[#gone + 1] = id
			end
		else
			local r = fields(base .. id, 'id', 'u', 'c', 'a', 't', 'z')
			if not live(r, id, subject, n) then
				gone[#gone + 1] = id
			elseif not r[6] then
				others[#others + 1] = {id = id, t = tonumber(r[5]) or 0, c = tonumber(r[3])}
			end
		end
	end
end

local code, out = apply(KEYS[1], 12, 0, ARGV[11] == '1' and math.huge or budget, true)
if code ~= 1 then
	return {code}
end
redis.call('HSET', KEYS[1], 'id', sid, 'u', subject, 'c', num(created), 'a', num(expires), 'i', ARGV[4], 't', num(at),
	'g', '1', 'p', '0', 'h', num(now), 'k', '0')
local authenticated = tonumber(ARGV[7])
if authenticated < 0 then
	authenticated = at
end
if authenticated > 0 then
	redis.call('HSET', KEYS[1], 'at', num(authenticated))
end
if ARGV[8] ~= '' then
	redis.call('HSET', KEYS[1], 'd', ARGV[8])
end
redis.call('PEXPIRE', KEYS[1], num(math.min(tonumber(ARGV[4]), expires - now)))

local evicted, ended = {}, now
if subject ~= '' then
	for _, id in ipairs(gone) do
		redis.call('ZREM', KEYS[3], id)
	end
	local cap = tonumber(ARGV[9])
	if cap > 0 and #others + 1 > cap then
		table.sort(others, function(x, y)
			if x.t ~= y.t then
				return x.t < y.t
			end
			if x.c ~= y.c then
				return x.c < y.c
			end
			return x.id < y.id
		end)
		for i = 1, #others + 1 - cap do
			redis.call('UNLINK', base .. others[i].id)
			redis.call('ZREM', KEYS[3], others[i].id)
			evicted[i] = others[i].id
			ended = math.max(ended, others[i].t)
		end
	end
	redis.call('ZADD', KEYS[3], num(expires), sid)
	if redis.call('PTTL', KEYS[3]) < expires - now then -- the index lives as long as the longest of its sessions may
		redis.call('PEXPIRE', KEYS[3], num(expires - now))
	end
end
return {1, num(at), num(expires), out, evicted, num(ended), num(created)}
