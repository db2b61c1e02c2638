#!lua
-- Copies holder entries of ISSUED rows into the map of a coupon that is being filled.
--
-- KEYS  1 meta   2 issued
-- ARGV  member id, request id, member id, request id, …
-- Reply {'COPIED'}   they are there
--       {'LOST'}     what was copied before is gone (see reserve.lua); nothing was changed, and the fill has to begin anew
-- After COPIED: issued[member] = request id for each, and meta.holders, if there is a meta, is the number of holder entries.
local holders = tonumber(redis.call('HGET', KEYS[1], 'holders'))
if holders and holders > 0 and redis.call('EXISTS', KEYS[2]) == 0 then
    return {'LOST'}
end
redis.call('HSET', KEYS[2], unpack(ARGV))
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HSET', KEYS[1], 'holders', redis.call('HLEN', KEYS[2]))
end
return {'COPIED'}
