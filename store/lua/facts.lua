-- facts answers the log's meta hash: epoch, birth, last ID, and the permanent facts (n, na, k:<kid>).
--
-- KEYS  1 meta
-- reply {field, value, …}
--
-- Keeps promise 4. Who asks has a list that is stale, perhaps because this server is cut off, and must not be told that a session lives by a server that is
-- the master no more. So it is asked as a writer would ask: deleting a field that nobody sets changes nothing, but is refused by a replica (READONLY) and by
-- a master without enough of them (NOREPLICAS, where min-replicas-to-write is set).
redis.call('HDEL', KEYS[1], '')
return redis.call('HGETALL', KEYS[1])
