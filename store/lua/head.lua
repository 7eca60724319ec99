-- The opening of every script that touches a session: the clock, and the one definition of "live".

-- Redis' own time orders everything and is the only clock that enters a token.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- num writes a number out for Redis. tostring and .. write 1.7e+15 in one interpreter and every digit in another.
local function num(n)
	return string.format('%.0f', n)
end

-- fields reads fields of a record. A key of another type holds no session: nil, never an error, so that a broken key
-- can neither be used nor keep its subject's other sessions from being listed and ended. Any other error says nothing of the session, and ends the script.
local function fields(key, ...)
	local r = redis.pcall('HMGET', key, ...)
	if not r.err then
		return r
	elseif not string.find(r.err, 'WRONGTYPE', 1, true) then
		redis.call('HMGET', key, ...)
	end
	return nil
end

-- sure ends the script with an error if a record that was not found may be on another node of a Cluster. While a slot is on its way from one node to another each
-- has some of its keys, and the new one answers for a key that has not come yet as if there was none. It refuses a command with that key and one that
-- has come, as the index has from which the record's name is.
local function sure(key, index)
	redis.call('EXISTS', index, key)
end

-- newest is the newest time handed out in a token of a session that an index names, 0 if there is no such session any more.
local function newest(key, index)
	local r = fields(key, 't')
	if not r or not r[1] then
		sure(key, index)
	end
	return r and tonumber(r[1]) or 0
end

-- score reads a score of a sorted set, by arithmetic: one interpreter's tonumber does not know 1e+13.
local function score(x)
	return x + 0
end

-- notbefore reads a subject's not-before. Something there that is no number is an error: guessing would revive the dead.
local function notbefore(key)
	local n = redis.call('GET', key)
	if not n then
		return 0
	end
	return tonumber(n) or error('not-before is not a number')
end

-- live says whether r = {id, u, c, a, ...} is a live session: it holds its own ID, is this subject's, was created after
-- the not-before and is before its absolute expiry. An absent record is {false, ...} and fails the first comparison.
local function live(r, sid, subject, n)
	if not r or r[1] ~= sid or r[2] ~= subject then
		return false
	end
	local c, a = tonumber(r[3]), tonumber(r[4])
	return c and a and c > n and a > now
end
