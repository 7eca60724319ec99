-- subject says whose a session is, for steps that are given its ID alone: the keys of the step that follows are declared from it.
--
-- KEYS  1 session
-- reply {own ID or nil, subject or nil}
--
-- A script, although one HGET would do: a script always runs on the master, and no client-side cache answers for it.
local r = fields(KEYS[1], 'id', 'u')
return {r and r[1] or false, r and r[2] or false}
