-- refresh judges a refresh token whose MAC was found good, and carries the judgement out.
--
-- KEYS  1 session  2 the subject's not-before  3 the subject's index
-- ARGV  1 session ID  2 subject  3 generation presented  4 window W ms
--       5 '1' = beside an unexpired access token, or quiet: reuse is not judged now  6 '1' = renew only if current
-- reply {0} absent or dead, or {1, verdict, current generation, issue time, created, absolute expiry, idle end, authentication time, device}
--       verdicts: 1 renewed  2 rotated  3 handed out  4 displaced  5 adopted  6 superseded  7 reused
--
-- Keeps promise 3. State: g = current generation, p = the one before, h = when g was made or last handed to a holder of p,
-- k = when g was first seen to have arrived (0 = not yet).
local r = fields(KEYS[1], 'id', 'u', 'c', 'a', 'g', 'p', 'h', 'k', 'i', 't', 'at', 'z', 'd')
if not live(r, ARGV[1], ARGV[2], notbefore(KEYS[2])) then
	return {0}
end
local created, expires = tonumber(r[3]), tonumber(r[4])
local cur, prev, h, k, idle, newest = tonumber(r[5]), tonumber(r[6]), tonumber(r[7]), tonumber(r[8]), tonumber(r[9]), tonumber(r[10])
local gen, window = tonumber(ARGV[3]), tonumber(ARGV[4])
if not (cur and prev and h and k and idle and newest) then
	return {0} -- a record that cannot be judged is no session
end
local RENEWED, ROTATED, HANDED_OUT, DISPLACED, ADOPTED, SUPERSEDED, REUSED = 1, 2, 3, 4, 5, 6, 7

-- A clock that steps back closes windows, hence the absolute value.
local function within(x)
	return math.abs(now - x) <= window
end

local at = math.max(now, newest)
local function answer(verdict, idleends)
	return {1, verdict, num(cur), num(at), num(created), num(expires), num(idleends), r[11] or '0', r[13] or ''}
end

-- Frozen: a login or rotation is replacing this session. Requests beside it are as good as superseded by it; later ones have no session.
if r[12] then
	if within(tonumber(r[12]) or 0) then
		return answer(SUPERSEDED, now + math.max(0, redis.call('PTTL', KEYS[1])))
	end
	return {0}
end

local verdict
if gen == cur then
	if within(h) then
		verdict = RENEWED
		if k == 0 then
			k = now
		end
	else
		verdict, prev, cur, h, k = ROTATED, cur, cur + 1, now, 0
	end
elseif ARGV[6] == '1' then
	verdict = SUPERSEDED
elseif gen > cur then -- the MAC is ours, so the record lost a rotation in a failover
	verdict, prev, cur, h, k = ADOPTED, cur, gen, now, now
elseif gen == prev and k == 0 then
	if within(h) then
		verdict, h = HANDED_OUT, now
	else -- the answer that carried cur was lost
		verdict, cur, h = DISPLACED, cur + 1, now
	end
elseif gen == prev and within(k) or ARGV[5] == '1' then
	verdict = SUPERSEDED
else
	verdict = REUSED
end

if verdict == SUPERSEDED then
	return answer(verdict, now + math.max(0, redis.call('PTTL', KEYS[1])))
end
if verdict == REUSED then
	redis.call('UNLINK', KEYS[1])
	if ARGV[2] ~= '' then
		redis.pcall('ZREM', KEYS[3], ARGV[1])
	end
	return answer(verdict, now)
end
local left = math.min(idle, expires - now)
redis.call('HSET', KEYS[1], 'g', num(cur), 'p', num(prev), 'h', num(h), 'k', num(k), 't', num(at))
redis.call('PEXPIRE', KEYS[1], num(left))
return answer(verdict, now + left)
