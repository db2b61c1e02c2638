#!lua flags=allow-oom
-- Deletes all data of a coupon that was ended for good.
--
-- KEYS  1 meta   2 issued   3 outbox   4 lease of the relay   5 refused
-- Reply {'DELETED'}           nothing of it is left (also when nothing was there)
--       {'UNPUBLISHED', n}    events still have to be published; nothing was changed
--       {'OPEN', status}      its gate is not closed; nothing was changed
-- After DELETED: none of the keys exist. UNLINK frees a map of any size in the background.
-- allow-oom: it frees memory.
local waiting = redis.call('ZCARD', KEYS[3])
if waiting > 0 then
    return {'UNPUBLISHED', waiting}
end
local status = redis.call('HGET', KEYS[1], 'status')
if status and status ~= 'CLOSED' and status ~= 'SUSPECT' then
    return {'OPEN', status}
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return {'DELETED'}
