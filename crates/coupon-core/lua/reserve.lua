#!lua
-- Reserves one coupon for each of some members, in their order, or says why not; a repeat with the same request ids changes nothing.
--
-- KEYS  1 meta   2 issued   3 outbox
-- ARGV  1 epoch and 2 seq this caller has seen (0 0 = none yet)   3 cap of the outbox
--       4 1: also when the campaign is closed or its time is over (a replay by an operator); 0: not then
--       5 request id, 6 member id, and so on, for each request
-- Reply {'DECIDED', epoch, now ms, answer, …}   an answer for each request:
--         seq                                             this request holds the coupon, since now, and its event is in the outbox
--         {'RESERVED', request id, seq, reserved_at ms, pending}   a repeat: this request holds the coupon
--         {'ALREADY',  request id, seq, reserved_at ms, pending}   an earlier request of this member holds it (also closed, over)
--                      pending 1: still in the outbox, 0: Kafka has acknowledged it (reserved_at is then 0)
--         {'SOLD_OUT'}   {'NOT_OPEN', ms until it opens}   {'CLOSED'}
--         {'OUTBOX_FULL'}   Kafka is away for too long
--       One answer to all, and nobody holds a coupon by it:
--       {'MISSING'}       no data of this coupon; never to be read as "nothing sold yet"
--       {'FILLING'}       being filled from PostgreSQL
--       {'SUSPECT'}       this Redis has lost data; only a rebuild ends it
-- For each new reservation: issued[member] = request id, the outbox has an entry for the event, seq and holders are one higher.
-- Not while Redis is full: an outbox entry must stay there.
-- Everything is read and checked before the first write, because Redis does not roll a failed script back.
--
-- meta.holders is what HLEN(issued) was after the last change, written by every script that changes the map. Redis deletes a
-- hash with its last field, so a map that is gone looks like one that nobody is in: while holders says otherwise, the map was
-- lost, and everything in it with it. It is compared with an empty map only, never with a smaller one: builds before this one
-- change the map without telling, beside it in a roll-out and after a roll-back. Where holders is missing (such a build has
-- filled the coupon) it is learnt. That the outbox is gone cannot be told from one that was emptied: its holder entries are still there,
-- so nothing is given out twice, and reconciliation finds them as orphans and publishes them.
local seen_epoch, seen_seq, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not (seen_epoch and seen_seq and cap) then
    return redis.error_reply('ERR reserve: ARGV 1, 2 and 3 are numbers')
end
local members = {}
for at = 6, #ARGV, 2 do
    members[#members + 1] = ARGV[at]
end

local meta = redis.call('HMGET', KEYS[1], 'status', 'opens_at', 'closes_at', 'total', 'epoch', 'seq', 'holders')
local status, opens_at, closes_at = meta[1], tonumber(meta[2]), tonumber(meta[3])
local total, epoch, seq = tonumber(meta[4]), tonumber(meta[5]), tonumber(meta[6])
if not (status and opens_at and closes_at and total and epoch and seq) then
    return {'MISSING'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[2], unpack(members))
local issued = redis.call('HLEN', KEYS[2])
local waiting = redis.call('ZCARD', KEYS[3])

if status == 'SUSPECT' or status == 'FILLING' then
    return {status}
end
local holders = tonumber(meta[7])
if not holders then
    redis.call('HSET', KEYS[1], 'holders', issued)
elseif holders > 0 and issued == 0 then
    redis.call('HSET', KEYS[1], 'status', 'SUSPECT')
    return {'SUSPECT'}
end
-- Sequences are compared within an epoch only: a rebuild may begin its epoch below a sequence that was never
-- acknowledged.
if epoch < seen_epoch or (epoch == seen_epoch and seq < seen_seq) then
    redis.call('HSET', KEYS[1], 'status', 'SUSPECT')
    return {'SUSPECT'}
end
local after_close, refused = ARGV[4] == '1', nil
if status ~= 'OPEN' and not after_close then
    refused = {'CLOSED'}
elseif now < opens_at then
    refused = {'NOT_OPEN', opens_at - now}
elseif closes_at > 0 and now >= closes_at and not after_close then
    refused = {'CLOSED'}
end

local reply, new_holders, new_entries, new = {'DECIDED', epoch, now}, {}, {}, {}
for at, member in ipairs(members) do
    local request, holder = ARGV[3 + 2 * at], held[at] or new[member]
    local answer = refused
    -- Before the window: whoever holds a coupon is told so whenever the map can be trusted, also when all is over.
    if holder then
        local reserved_at = new[member] and now
            or redis.call('ZSCORE', KEYS[3], holder .. '|' .. meta[5] .. '|' .. member)
        local word = holder == request and 'RESERVED' or 'ALREADY'
        answer = {word, holder, seq, tonumber(reserved_at or 0), reserved_at and 1 or 0}
    elseif not refused and issued >= total then
        answer = {'SOLD_OUT'}
    elseif not refused and waiting >= cap then
        answer = {'OUTBOX_FULL'}
    elseif not refused then
        seq, issued, waiting = seq + 1, issued + 1, waiting + 1
        new[member] = request
        local last = #new_holders
        new_holders[last + 1], new_holders[last + 2] = member, request
        new_entries[last + 1], new_entries[last + 2] = now, request .. '|' .. meta[5] .. '|' .. member
        answer = seq
    end
    reply[3 + at] = answer
end

if new_holders[1] then
    redis.call('HSET', KEYS[1], 'seq', seq, 'holders', issued)
    redis.call('ZADD', KEYS[3], unpack(new_entries))
    redis.call('HSET', KEYS[2], unpack(new_holders))
end
return reply
