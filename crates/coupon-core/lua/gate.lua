#!lua flags=allow-oom
-- Opens or closes the gate of a coupon, or marks its data as not to be trusted.
--
-- KEYS  1 meta   2 issued
-- ARGV  1 OPEN, CLOSED or SUSPECT   2 epoch the caller means   3 total   4 version of the total (OPEN only)
-- Reply {'DONE'}   {'MISSING'}   {'SUSPECT'} it is SUSPECT and only a rebuild ends that   {'OTHER', epoch}
-- After DONE: meta.status is the given one; with OPEN a newer total has been taken over too.
-- A map that was lost (see reserve.lua) is never opened: that makes the coupon SUSPECT.
local meta = redis.call('HMGET', KEYS[1], 'status', 'epoch', 'total_version', 'holders')
if not (meta[1] and meta[2] and meta[3]) then
    return {'MISSING'}
end
if meta[2] ~= ARGV[2] then
    return {'OTHER', tonumber(meta[2])}
end
if meta[1] == 'SUSPECT' and ARGV[1] ~= 'SUSPECT' then
    return {'SUSPECT'}
end
if ARGV[1] == 'OPEN' then
    if (tonumber(meta[4]) or 0) > 0 and redis.call('EXISTS', KEYS[2]) == 0 then
        redis.call('HSET', KEYS[1], 'status', 'SUSPECT')
        return {'SUSPECT'}
    end
    if not (tonumber(ARGV[3]) and tonumber(ARGV[4])) then
        return redis.error_reply('ERR gate: OPEN takes a total and its version')
    end
    if tonumber(ARGV[4]) > tonumber(meta[3]) then
        redis.call('HSET', KEYS[1], 'total', ARGV[3], 'total_version', ARGV[4])
    end
end
redis.call('HSET', KEYS[1], 'status', ARGV[1])
return {'DONE'}
