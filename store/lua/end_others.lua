-- end_others ends all sessions of a subject that its index names, but one, which lives.
--
-- KEYS  1 the session to keep  2 the subject's not-before  3 the subject's index
--       and, undeclared but of the same slot, the session keys that the index names
-- ARGV  1 the session ID to keep  2 subject  3 prefix of session keys  4 horizon ms  5 '1' = a WAIT for replicas follows
-- reply {time, {ended ID, …}}, or {0}: the session to keep has ended or is frozen, and nothing ends. Where it goes on under another ID, that would end too,
-- and nobody were left
--
-- Keeps promise 1, and lets a retry announce what a crash left unannounced: an ended session stays in the index with a negative
-- score, -(the time until which its end is worth announcing), until it is announced (forget.lua) or its last token has expired.
-- Such members are answered again, are not sessions, and are dropped by whoever finds them past that time.
-- The time is no earlier than the newest one handed out in a token of theirs, so that after a clock stepped back no list forgets them while one is good.
-- And promise 5: where a WAIT follows it always writes; end_one.lua says why.
local r = fields(KEYS[1], 'id', 'u', 'c', 'a', 'z')
if not live(r, ARGV[1], ARGV[2], notbefore(KEYS[2])) or r[5] then
	return {0}
end
local index = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
local horizon = tonumber(ARGV[4])
local last = {} -- by ID: the time of an end; nothing is written before all records are known to be here
for i = 1, #index, 2 do
	if index[i] ~= ARGV[1] and score(index[i + 1]) >= 0 then
		last[index[i]] = math.max(now, newest(ARGV[3] .. index[i], KEYS[3]))
	end
end
local ended, at = {}, now
for i = 1, #index, 2 do
	local id, time = index[i], score(index[i + 1])
	if id ~= ARGV[1] then
		if time >= 0 then
			redis.call('UNLINK', ARGV[3] .. id)
			redis.call('ZADD', KEYS[3], num(-(last[id] + horizon)), id)
			ended[#ended + 1] = id
			at = math.max(at, last[id])
		elseif -time < now then
			redis.call('ZREM', KEYS[3], id)
		else
			ended[#ended + 1] = id
			at = math.max(at, -time - horizon)
		end
	end
end
local ttl, needed = redis.call('PTTL', KEYS[3]), at + horizon - now
if #ended > 0 and ttl >= 0 and ttl < needed then
	redis.call('PEXPIRE', KEYS[3], num(needed))
end
if ARGV[5] == '1' then
	redis.call('ZREM', KEYS[3], '') -- before ZADD: see end_all.lua
	redis.call('ZADD', KEYS[3], 0, '')
	redis.call('ZREM', KEYS[3], '')
end
return {num(at), ended}
