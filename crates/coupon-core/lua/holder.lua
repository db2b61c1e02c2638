#!lua flags=no-writes
-- Tells what a member holds. Changes nothing, so it also answers when Redis has no memory left.
--
-- KEYS  1 meta   2 issued   3 outbox
-- ARGV  1 member id   2 epoch and 3 seq this caller has seen (0 0 = none yet)
-- Reply {'HOLDS', request id, pending}   pending 1: still in the outbox, 0: Kafka has acknowledged it
--       {'NOTHING'}     the member holds no coupon
--       {'MISSING'}     no data of this coupon; never to be read as "nothing held"
--       {'FILLING'}     being filled from PostgreSQL
--       {'SUSPECT'}     this Redis has lost data: it is behind what the caller has seen, or the map is gone (see reserve.lua)
local seen_epoch, seen_seq = tonumber(ARGV[2]), tonumber(ARGV[3])
if not (seen_epoch and seen_seq) then
    return redis.error_reply('ERR holder: ARGV 2 and 3 are numbers')
end
local meta = redis.call('HMGET', KEYS[1], 'status', 'epoch', 'seq', 'holders')
local status, epoch, seq = meta[1], tonumber(meta[2]), tonumber(meta[3])
if not (status and epoch and seq) then
    return {'MISSING'}
end
if status == 'SUSPECT' or status == 'FILLING' then
    return {status}
end
if epoch < seen_epoch or (epoch == seen_epoch and seq < seen_seq) then
    return {'SUSPECT'}
end
local holder = redis.call('HGET', KEYS[2], ARGV[1])
if not holder and (tonumber(meta[4]) or 0) > 0 and redis.call('EXISTS', KEYS[2]) == 0 then
    return {'SUSPECT'}
end
if not holder then
    return {'NOTHING'}
end
local pending = redis.call('ZSCORE', KEYS[3], holder .. '|' .. meta[2] .. '|' .. ARGV[1])
return {'HOLDS', holder, pending and 1 or 0}
