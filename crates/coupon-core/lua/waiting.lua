#!lua flags=allow-oom
-- Says which of many outboxes have entries. While none has, which is nearly always, this is one command, however many they are.
--
-- KEYS  1 … outboxes, in a cluster of one slot
-- Reply {n, …}   the places in KEYS, from 1 on, of those that are there
-- Nothing is changed. It is not said so in the flags, so that a replica, which may be behind, refuses it as it refuses
-- relay.lua. A key that is no outbox is there too: relay.lua says what is wrong with it. Redis keeps no empty sorted set.
-- allow-oom: what is in an outbox has to leave it when Redis is full too.
local there = {}
local function find(first, last)
    if redis.call('EXISTS', unpack(KEYS, first, last)) == 0 then
        return
    end
    if first == last then
        there[#there + 1] = first
        return
    end
    local middle = math.floor((first + last) / 2)
    find(first, middle)
    find(middle + 1, last)
end
if #KEYS > 0 then
    find(1, #KEYS)
end
return there
