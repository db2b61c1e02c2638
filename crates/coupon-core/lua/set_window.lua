#!lua flags=allow-oom
-- Sets when a coupon accepts requests, as absolute times under a version, so that a late or repeated call never undoes a
-- newer one.
--
-- KEYS  1 meta
-- ARGV  1 opens_at ms   2 closes_at ms (0 = never)   3 version of the window
-- Reply {'SET'}   {'MISSING'}   {'NEWER'} a newer version is there already
-- After SET: meta.opens_at, meta.closes_at and meta.window_version are the given ones. Whoever holds a coupon keeps it.
-- allow-oom: three fields are replaced, and a campaign may have to end while Redis is full.
local version = tonumber(ARGV[3])
if not (tonumber(ARGV[1]) and tonumber(ARGV[2]) and version) then
    return redis.error_reply('ERR set_window: ARGV 1 to 3 are numbers')
end
local meta = redis.call('HMGET', KEYS[1], 'opens_at', 'window_version')
if not meta[1] then
    return {'MISSING'}
end
-- Data that an older build has laid down has no version yet.
if version < (tonumber(meta[2]) or 0) then
    return {'NEWER'}
end
redis.call('HSET', KEYS[1], 'opens_at', ARGV[1], 'closes_at', ARGV[2], 'window_version', ARGV[3])
return {'SET'}
