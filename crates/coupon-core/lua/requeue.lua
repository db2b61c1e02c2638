#!lua flags=allow-oom
-- Puts the outbox entry of a reservation back: for a holder whose event was lost on its way.
--
-- KEYS  1 meta   2 issued   3 outbox
-- ARGV  1 request id   2 member id   3 epoch the caller means   4 reserved_at ms, by the clock of whoever made the request id
-- Reply {'REQUEUED'}   the entry is there, from now or before
--       {'MOVED'}      the holder entry is gone or names another request, or the data is of another epoch; nothing was changed
-- After REQUEUED: a relay publishes the event again; whoever reads it twice decides it once. A reserved_at that is still
-- to come by the clock of Redis counts as now.
-- allow-oom: it saves a request that was accepted, and there are at most as many entries as holders.
if not (tonumber(ARGV[3]) and tonumber(ARGV[4])) then
    return redis.error_reply('ERR requeue: ARGV 3 and 4 are numbers')
end
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[3] or redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[1] then
    return {'MOVED'}
end
local time = redis.call('TIME')
local reserved_at = math.min(tonumber(ARGV[4]), time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('ZADD', KEYS[3], 'NX', reserved_at, ARGV[1] .. '|' .. ARGV[3] .. '|' .. ARGV[2])
return {'REQUEUED'}
