#!lua flags=no-writes
-- Says whether a coupon is sold out, for a process that remembers it for a moment.
--
-- KEYS  1 meta   2 issued
-- Reply {'SOLD_OUT', epoch, seq, holders} open, inside its window, and every unit is held
--       {'OTHERWISE'}                     anything else: `reserve` says what
-- Every new holder entry moves seq on, so that the entries read while epoch and seq stand still are all there are.
local meta = redis.call('HMGET', KEYS[1], 'status', 'opens_at', 'closes_at', 'total', 'epoch', 'seq')
local opens_at, closes_at, total = tonumber(meta[2]), tonumber(meta[3]), tonumber(meta[4])
local epoch, seq = tonumber(meta[5]), tonumber(meta[6])
if not (opens_at and closes_at and total and epoch and seq) then
    return {'OTHERWISE'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local issued = redis.call('HLEN', KEYS[2])
if meta[1] ~= 'OPEN' or now < opens_at or (closes_at > 0 and now >= closes_at) or issued < total then
    return {'OTHERWISE'}
end
return {'SOLD_OUT', epoch, seq, issued}
