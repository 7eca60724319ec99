-- Operations on application fields, for create and save. ARGV holds first a string with a letter for each operation: s set, d delete, t take,
-- i increment; before it, if the operation is conditional, a (absent) or p (present, with a certain value). Then follow for each operation
-- its field (f:<name>), with p that value, and the value of a set or the addend of an increment.

-- limbs splits a decimal int64 into hi * 10^9 + lo, both with its sign, because a Lua number holds 53 bits only.
-- nil: not an integer as Redis spells it, or out of range.
local function limbs(x)
	local sign, digits = string.match(x, '^(%-?)([0-9]+)$')
	if not digits or #digits > 19 or (string.sub(digits, 1, 1) == '0' and (#digits > 1 or sign == '-')) then
		return nil
	end
	local hi, lo = tonumber(string.sub(digits, 1, -10)) or 0, tonumber(string.sub(digits, -9))
	if sign == '-' then
		hi, lo = -hi, -lo
	end
	if hi > 9223372036 or (hi == 9223372036 and lo > 854775807) or
		hi < -9223372036 or (hi == -9223372036 and lo < -854775808) then
		return nil
	end
	return hi, lo
end

-- sum adds two decimal int64; nil if one is none or the sum is out of range.
local function sum(x, y)
	local xh, xl = limbs(x)
	local yh, yl = limbs(y)
	if not xh or not yh then
		return nil
	end
	local hi, lo = xh + yh, xl + yl
	if lo >= 1e9 then
		hi, lo = hi + 1, lo - 1e9
	elseif lo <= -1e9 then
		hi, lo = hi - 1, lo + 1e9
	end
	if hi > 0 and lo < 0 then
		hi, lo = hi - 1, lo + 1e9
	elseif hi < 0 and lo > 0 then
		hi, lo = hi + 1, lo - 1e9
	end
	local z
	if hi == 0 then
		z = num(lo)
	else
		z = num(hi) .. string.format('%09.0f', math.abs(lo))
	end
	return limbs(z) and z
end

-- apply carries the operations that begin at ARGV[at] out in memory, and writes only once nothing can fail any more.
-- used = bytes of application data before, max = the budget, fresh = the record does not exist yet.
-- It returns a code (1 applied, -1 conflict, -2 too large, -3 not an integer), one value for each operation, and whether any of them is one.
local function apply(key, at, used, max, fresh)
	local before, after, names, out, answers = {}, {}, {}, {}, false
	local kinds, fields, values, condition = {}, {}, {}, nil
	for letter in string.gmatch(ARGV[at], '.') do
		if letter == 'a' or letter == 'p' then
			condition = letter
		else
			at = at + 1
			local name, was = ARGV[at], nil
			if condition == 'p' then
				at = at + 1
				was = ARGV[at]
			end
			if before[name] == nil then
				before[name] = not fresh and redis.call('HGET', key, name)
				after[name] = before[name]
				names[#names + 1] = name
			end
			if condition == 'a' and before[name] or condition == 'p' and before[name] ~= was then
				return -1
			end
			condition = nil
			local i = #kinds + 1
			kinds[i], fields[i] = letter, name
			if letter == 's' or letter == 'i' then
				at = at + 1
				values[i] = ARGV[at]
			end
		end
	end
	for i = 1, #kinds do
		local kind, name = kinds[i], fields[i]
		local answer = false
		if kind == 's' then
			after[name] = values[i]
		elseif kind == 'i' then
			after[name] = sum(after[name] or '0', values[i])
			if not after[name] then
				return -3
			end
			answer = after[name]
		else
			if kind == 't' then
				answer = after[name]
			end
			after[name] = false
		end
		out[i] = answer
		answers = answers or answer
	end
	local total = used
	for _, name in ipairs(names) do
		if before[name] then
			total = total - #name + 2 - #before[name]
		end
		if after[name] then
			total = total + #name - 2 + #after[name]
		end
	end
	if total > max and total > used then -- what is over a budget that was lowered may still shrink
		return -2
	end
	local set = {}
	if total ~= used or fresh then
		set = {'b', num(total)}
	end
	for _, name in ipairs(names) do
		if after[name] and after[name] ~= before[name] then
			set[#set + 1] = name
			set[#set + 1] = after[name]
			if #set >= 1000 then -- unpack has a limit
				redis.call('HSET', key, unpack(set))
				set = {}
			end
		elseif before[name] and not after[name] then
			redis.call('HDEL', key, name)
		end
	end
	if #set > 0 then
		redis.call('HSET', key, unpack(set))
	end
	return 1, out, answers
end
