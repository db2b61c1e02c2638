#!lua
-- Begins the data of a coupon for one epoch, with the gate closed, before its holder entries are copied from PostgreSQL.
--
-- KEYS  1 meta   2 issued   3 outbox
-- ARGV  1 epoch   2 total   3 version of the total   4 opens_at ms   5 closes_at ms (0 = never)   6 seq to go on from
--       7 1: replace what is here of an older epoch, or without meta (a rebuild); 0: leave it   8 version of the window
-- Reply {'FILLING'}    the holder entries of this epoch may be copied (also when an earlier fill broke off)
--       {'FILLED'}     this epoch was filled before; nothing was changed
--       {'LEFTOVER'}   holder or outbox entries without meta: part of the data was lost, so this is no fresh coupon
--       {'OTHER', epoch}   data of another epoch is here (with 7: of a newer one)
--       {'UNPUBLISHED', n}    with 7: events of the data to be replaced still have to be published
-- After FILLING: meta is complete, holders counts what is in the map, status FILLING accepts nothing; with 7 nothing of the older
-- data is left. Not while Redis is full: the holder entries that follow would not fit, and the old data would be gone.
for i = 1, 8 do
    if not tonumber(ARGV[i]) then
        return redis.error_reply('ERR begin_fill: ARGV 1 to 8 are numbers')
    end
end
local meta = redis.call('HMGET', KEYS[1], 'status', 'epoch')
if ARGV[7] == '1' and (tonumber(meta[2]) or 0) < tonumber(ARGV[1]) then
    local waiting = redis.call('ZCARD', KEYS[3])
    if waiting > 0 then
        return {'UNPUBLISHED', waiting}
    end
    redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
    meta = {}
end
if meta[2] and meta[2] ~= ARGV[1] then
    return {'OTHER', tonumber(meta[2])}
end
if meta[1] and meta[1] ~= 'FILLING' then
    return {'FILLED'}
end
if not meta[1] and redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) > 0 then
    return {'LEFTOVER'}
end
redis.call('HSET', KEYS[1], 'status', 'FILLING', 'epoch', ARGV[1], 'total', ARGV[2], 'total_version', ARGV[3],
    'opens_at', ARGV[4], 'closes_at', ARGV[5], 'seq', ARGV[6], 'window_version', ARGV[8],
    'holders', redis.call('HLEN', KEYS[2]))
return {'FILLING'}
