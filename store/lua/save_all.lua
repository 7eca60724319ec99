-- The rest of save, with what ops.lua defines.
local code, out, answers = apply(key, 4, used, budget, false)
if code ~= 1 then
	return code
end
if arrived then
	local clock = call('TIME')
	call('HSET', key, 'k', num(clock[1] * 1000 + math.floor(clock[2] / 1000)))
end
if not answers then
	return 1
end
table.insert(out, 1, 1)
return out
