#!lua
-- Puts the holder entry of an ISSUED row back where the member has none.
--
-- KEYS  1 meta   2 issued
-- ARGV  1 request id   2 member id   3 epoch the caller means
-- Reply {'RESTORED'}   the entry is there, from now or before
--       {'TAKEN'}      the member's entry names another request; nothing was changed
--       {'MOVED'}      the data is of another epoch, or the map was lost as a whole; no entry was changed
-- After RESTORED: issued[member] = request id. The unit is no longer free, even if that makes more holders than units:
-- PostgreSQL has issued it. An entry that was not there has moved seq on, as every new one does (see sold_out.lua).
-- One entry put back into a map that was lost (see reserve.lua) would hide that the others are gone, so the coupon becomes
-- SUSPECT instead; the one entry that there was is all there was to lose.
-- Not while Redis is full: nobody can reserve then either, so a missing entry harms nobody until there is room.
if not tonumber(ARGV[3]) then
    return redis.error_reply('ERR restore: ARGV 3 is a number')
end
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'holders')
if meta[1] ~= ARGV[3] then
    return {'MOVED'}
end
if not tonumber(meta[2]) then
    return redis.error_reply('ERR restore: the sequence of the coupon is no number')
end
if (tonumber(meta[3]) or 0) > 1 and redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('HSET', KEYS[1], 'status', 'SUSPECT')
    return {'MOVED'}
end
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'seq', 1)
    redis.call('HSET', KEYS[1], 'holders', redis.call('HLEN', KEYS[2]))
end
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[1] then
    return {'TAKEN'}
end
return {'RESTORED'}
