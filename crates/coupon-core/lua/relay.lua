#!lua
-- Takes or keeps the lease of one coupon's outbox and lists the entries that are old enough to be published again.
--
-- KEYS  1 meta   2 outbox   3 lease
-- ARGV  1 owner of the lease   2 lease ms   3 least age ms   4 most entries
-- Reply {'EMPTY'}    nothing is in the outbox (no lease is taken)
--       {'OTHERS'}   another process has the lease
--       {'LEASED', seq, entries in all, age of the oldest ms, {entry, score, entry, score, …}}
-- After LEASED: the lease is this owner's for the given time. Two owners at once would only publish twice.
local lease, least_age, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not (lease and least_age and limit) then
    return redis.error_reply('ERR relay: ARGV 2, 3 and 4 are numbers')
end
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not oldest[1] then
    return {'EMPTY'}
end
local owner = redis.call('GET', KEYS[3])
if owner and owner ~= ARGV[1] then
    return {'OTHERS'}
end
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[3], ARGV[1], 'PX', lease)
local entries = redis.call('ZRANGE', KEYS[2], '-inf', now - least_age, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
return {'LEASED', seq, redis.call('ZCARD', KEYS[2]), now - tonumber(oldest[2]), entries}
