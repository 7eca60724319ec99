-- The rest of save, with what ops.lua defines: the saves that are not usual ones.
for _, one in ipairs(long) do
	local i, at, arrived = one[1], one[2], one[3]
	local key = KEYS[i]
	local code, out, answers = apply(key, at + 3, tonumber(call('HGET', key, 'b')) or 0, budget, false)
	if code == 1 and arrived then
		local clock = call('TIME')
		call('HSET', key, 'k', num(clock[1] * 1000 + math.floor(clock[2] / 1000)))
	end
	if code == 1 and answers then
		table.insert(out, 1, 1)
		replies[i] = out
	else
		replies[i] = code
	end
end
if #KEYS == 2 then
	return replies[1]
end
return replies
