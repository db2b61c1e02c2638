#!lua flags=allow-oom
-- Counts one coupon's outbox and, where a lease is wanted, takes or keeps it and lists the entries that are due.
--
-- KEYS  1 meta   2 outbox   3 lease
-- ARGV  1 owner of the lease   2 lease ms; 0: this owner only counts, and releases a lease that it has
--       3 least age ms   4 most entries
-- Reply {'EMPTY'}    nothing is in the outbox (no lease is taken)
--       {'COUNTED', entries in all, age of the oldest ms}   the lease was not wanted, or another process has it
--       {'LEASED', entries in all, age of the oldest ms, seq, {entry, reserved_at ms, entry, reserved_at ms, …}}
-- After LEASED: the lease is this owner's for the given time. Two owners at once would only publish twice.
-- An entry from the future (a clock was put back) would wait for its time: it is due now, and counts as from now. Its age is
-- how far off it is, so that it does not hide.
-- allow-oom: what is in the outbox has to leave it when Redis is full too; the lease is the only byte that is written.
local lease, least_age, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not (lease and least_age and limit) then
    return redis.error_reply('ERR relay: ARGV 2, 3 and 4 are numbers')
end
local owner = redis.call('GET', KEYS[3])
if lease == 0 and owner == ARGV[1] then
    redis.call('DEL', KEYS[3])
end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not first[1] then
    return {'EMPTY'}
end
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
local waiting = redis.call('ZCARD', KEYS[2])
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = math.max(now - tonumber(first[2]), tonumber(last[2]) - now)
if lease == 0 or (owner and owner ~= ARGV[1]) then
    return {'COUNTED', waiting, oldest}
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', lease)
local due = redis.call('ZRANGE', KEYS[2], '-inf', now - least_age, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
local room = limit - #due / 2
if room > 0 and tonumber(last[2]) > now then
    local ahead = redis.call('ZRANGE', KEYS[2], '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, room, 'WITHSCORES')
    for i = 1, #ahead, 2 do
        due[#due + 1] = ahead[i]
        due[#due + 1] = tostring(now)
    end
end
return {'LEASED', waiting, oldest, seq, due}
