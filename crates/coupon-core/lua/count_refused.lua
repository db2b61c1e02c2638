#!lua
-- Adds what one process of issuer-api has refused since it last said so, for the page of the campaign.
--
-- KEYS  1 meta   2 refused
-- ARGV  pairs of a code of a refusal and the number of requests
-- Reply {'COUNTED'}   {'MISSING'} no data of this coupon; nothing was changed
-- After COUNTED: refused[code] is higher by the number. Without meta nothing is counted, so that no key outlives its campaign.
-- Not while Redis is full: nobody needs the numbers then.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return {'MISSING'}
end
for i = 1, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1])
end
return {'COUNTED'}
