#!lua flags=allow-oom
-- Sets how many coupons there are in all, as an absolute number under a version, so that a late or repeated call
-- never undoes a newer one.
--
-- KEYS  1 meta   2 issued
-- ARGV  1 total   2 version of the total
-- Reply {'SET'}   {'MISSING'} also when the map was lost (see reserve.lua)   {'NEWER'} a newer version is there already   {'BELOW_ISSUED', holders} no member loses a unit
-- After SET: meta.total and meta.total_version are the given ones.
-- allow-oom: two numbers that are there are replaced, and a campaign may have to be cut down while Redis is full.
local total, version = tonumber(ARGV[1]), tonumber(ARGV[2])
if not (total and version) then
    return redis.error_reply('ERR set_total: ARGV 1 and 2 are numbers')
end
local meta = redis.call('HMGET', KEYS[1], 'total_version', 'holders')
local current, issued = tonumber(meta[1]), redis.call('HLEN', KEYS[2])
if not current or (issued == 0 and (tonumber(meta[2]) or 0) > 0) then
    return {'MISSING'}
end
if version < current then
    return {'NEWER'}
end
if total < issued then
    return {'BELOW_ISSUED', issued}
end
redis.call('HSET', KEYS[1], 'total', ARGV[1], 'total_version', ARGV[2])
return {'SET'}
