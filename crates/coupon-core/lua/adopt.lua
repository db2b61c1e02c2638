#!lua
-- Completes meta where a part of it was lost, or where it is of an older epoch, and holders or outbox entries are left: a
-- rebuild settles them before it replaces them, as of the epoch of the row, because nothing of an older one is issued.
--
-- KEYS  1 meta   2 issued   3 outbox
-- ARGV  1 epoch   2 total   3 version of the total   4 opens_at ms   5 closes_at ms (0 = never)   6 seq
-- Reply {'ADOPTED'}   meta is whole now   {'WHOLE'} it was before   {'NOTHING'} there is nothing to settle
-- After ADOPTED: what meta still said stays, but for an older epoch and the status: CLOSED stays CLOSED, anything else is SUSPECT. The rest
-- is as given. Nothing is accepted from such data.
local names = {'epoch', 'total', 'total_version', 'opens_at', 'closes_at', 'seq'}
for i = 1, #names do
    if not tonumber(ARGV[i]) then
        return redis.error_reply('ERR adopt: ARGV 1 to 6 are numbers')
    end
end
if redis.call('EXISTS', KEYS[2], KEYS[3]) == 0 then
    return {'NOTHING'}
end
local status = redis.call('HGET', KEYS[1], 'status')
local found = redis.call('HMGET', KEYS[1], unpack(names))
local lost = {}
for i, name in ipairs(names) do
    if not tonumber(found[i]) or name == 'epoch' and tonumber(found[i]) < tonumber(ARGV[i]) then
        lost[#lost + 1] = name
        lost[#lost + 1] = ARGV[i]
    end
end
if status and #lost == 0 then
    return {'WHOLE'}
end
if status ~= 'CLOSED' then
    status = 'SUSPECT'
end
redis.call('HSET', KEYS[1], 'status', status, unpack(lost))
-- Nothing that an earlier rebuild thought of the data holds any more.
redis.call('HDEL', KEYS[1], 'shut_from')
return {'ADOPTED'}
