#!lua flags=allow-oom
-- Removes the holder entry of a request that was decided COMPENSATED, which frees the unit, or hands the entry over.
--
-- KEYS  1 issued   2 meta
-- ARGV  1 member id   2 request id that was compensated   3 request id that holds the member's coupon instead, or ''
-- Reply 1 the entry named the compensated request and was removed ('' given) or swapped, 0 it did not
-- After 1 with '': issued has no entry of this member. After 1 with an id: issued[member] = that id, nothing is free.
-- A newer reservation of the same member carries another request id and is never touched, so this may run late,
-- twice, or after Redis went back in time. It frees memory, so it also runs when Redis has none left. meta.holders, if there
-- is a meta, is the number of holder entries again (see reserve.lua).
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    return 0
end
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
    if redis.call('EXISTS', KEYS[2]) == 1 then
        redis.call('HSET', KEYS[2], 'holders', redis.call('HLEN', KEYS[1]))
    end
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
