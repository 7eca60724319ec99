-- facts answers the log's meta hash: epoch, birth, last ID, and the permanent facts (n, na, k:<kid>).
--
-- KEYS  1 meta
-- reply {field, value, …}
return redis.call('HGETALL', KEYS[1])
