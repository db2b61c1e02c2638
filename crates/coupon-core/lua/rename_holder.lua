#!lua
-- Puts a pseudonym in the place of a member's id in the data of a closed campaign.
--
-- KEYS  1 meta   2 issued   3 outbox
-- ARGV  1 member id   2 pseudonym
-- Reply {'RENAMED'}           the entry is the pseudonym's, with the same request id
--       {'NOTHING'}           the member has no entry; nothing was changed
--       {'UNPUBLISHED', n}    events still have to be published, and may be the member's; nothing was changed
--       {'OPEN', status}      its gate is not closed; nothing was changed
--       {'TAKEN'}             the pseudonym's entry names another request; nothing was changed
-- After RENAMED: issued[pseudonym] = request id, and the member has no entry. The number of entries is the same, unless both had one
-- of the same request (an erasure was cut off, and a reconciliation put one back): then it is smaller by one.
local request = redis.call('HGET', KEYS[2], ARGV[1])
if not request then
    return {'NOTHING'}
end
local waiting = redis.call('ZCARD', KEYS[3])
if waiting > 0 then
    return {'UNPUBLISHED', waiting}
end
local status = redis.call('HGET', KEYS[1], 'status')
if status and status ~= 'CLOSED' then
    return {'OPEN', status}
end
local other = redis.call('HGET', KEYS[2], ARGV[2])
if other and other ~= request then
    return {'TAKEN'}
end
redis.call('HSET', KEYS[2], ARGV[2], request)
redis.call('HDEL', KEYS[2], ARGV[1])
if status then
    redis.call('HSET', KEYS[1], 'holders', redis.call('HLEN', KEYS[2]))
end
return {'RENAMED'}
