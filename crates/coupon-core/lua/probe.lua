#!lua
-- Runs the commands of reserving and giving back on keys of its own, to test whether this server takes writes from this user.
-- Without allow-oom, as reserving is, so that a full memory shows.
--
-- KEYS  1 hash   2 sorted set
-- Reply 1
-- After nothing is left of it.
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'probe', '1')
redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('HMGET', KEYS[1], 'probe', 'seq')
redis.call('HGET', KEYS[1], 'seq')
redis.call('HLEN', KEYS[1])
redis.call('ZADD', KEYS[2], time[1], 'probe')
redis.call('ZSCORE', KEYS[2], 'probe')
redis.call('ZCARD', KEYS[2])
redis.call('ZREM', KEYS[2], 'probe')
redis.call('HDEL', KEYS[1], 'probe', 'seq')
return 1
