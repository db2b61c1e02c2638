#!lua flags=allow-oom
-- Opens or closes the gate of a coupon, marks its data as not to be trusted, or takes back what a rebuild shut.
--
-- KEYS  1 meta   2 issued
-- ARGV  1 OPEN, CLOSED, SUSPECT or RESUME   2 epoch the caller means
--       3 OPEN: total; SUSPECT: 1 keeps the status of before for RESUME, 0 deletes it, '' leaves it; RESUME: the status
--       4 OPEN: version of the total
-- Reply {'DONE'}   {'MISSING'}   {'SUSPECT'} it is SUSPECT and only a rebuild ends that   {'OTHER', epoch}
-- After DONE: meta.status is the given one; with OPEN a newer total has been taken over too. shut_from is there only
-- while a rebuild has shut data that nobody suspects: RESUME ends that, and nothing else opens a SUSPECT gate.
-- A map that was lost (see reserve.lua) is never opened: that makes the coupon SUSPECT.
-- allow-oom: a gate has to close when Redis is full too, and fields that are there are replaced.
local meta = redis.call('HMGET', KEYS[1], 'status', 'epoch', 'total_version', 'shut_from', 'holders')
if not (meta[1] and tonumber(meta[2]) and tonumber(meta[3])) then
    return {'MISSING'}
end
if meta[2] ~= ARGV[2] then
    return {'OTHER', tonumber(meta[2])}
end
if ARGV[1] == 'RESUME' then
    if meta[1] ~= 'SUSPECT' or not meta[4] then
        return {'SUSPECT'}
    end
    redis.call('HDEL', KEYS[1], 'shut_from')
    redis.call('HSET', KEYS[1], 'status', ARGV[3])
    return {'DONE'}
end
if meta[1] == 'SUSPECT' and ARGV[1] ~= 'SUSPECT' then
    return {'SUSPECT'}
end
if ARGV[1] == 'OPEN' then
    if (tonumber(meta[5]) or 0) > 0 and redis.call('EXISTS', KEYS[2]) == 0 then
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
if ARGV[1] == 'SUSPECT' and ARGV[3] == '1' and meta[1] ~= 'SUSPECT' then
    redis.call('HSET', KEYS[1], 'shut_from', meta[1])
elseif ARGV[1] == 'SUSPECT' and ARGV[3] == '0' then
    redis.call('HDEL', KEYS[1], 'shut_from')
end
redis.call('HSET', KEYS[1], 'status', ARGV[1])
return {'DONE'}
