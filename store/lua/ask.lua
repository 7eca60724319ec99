-- ask answers what a verifier with a stale list asks of one session.
--
-- KEYS  1 session  2 the subject's not-before
-- ARGV  1 session ID  2 subject
-- reply {'1' live or '0', not-before ms}
local n = notbefore(KEYS[2])
local r = fields(KEYS[1], 'id', 'u', 'c', 'a')
return {live(r, ARGV[1], ARGV[2], n) and '1' or '0', num(n)}
