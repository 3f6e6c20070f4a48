-- ARGV[1]: a name for the generation that begins when there is none.
-- Answers the generation, for each shard: top, announced head (-1: none), acknowledged position (-1: no consumers), the
-- highest position that it or a consumer knows; and whether all consumers have acknowledged something, 1 or 0.
if redis.call('EXISTS', KEYS[1]) == 0 then forget_all(ARGV[1]) end
local numbers = {}
for shard = 0, SHARDS - 1 do
  local last = top(shard)
  numbers[#numbers + 1] = last
  numbers[#numbers + 1] = tonumber(redis.call('HGET', KEYS[2], shard) or -1)
  numbers[#numbers + 1] = acknowledged(shard) or -1
  for key = FIRST_CONSUMER, #KEYS, 2 do
    last = math.max(last, tonumber(redis.call('HGET', KEYS[key], shard) or 0))
  end
  numbers[#numbers + 1] = last
end
local spoken = 1
for key = FIRST_CONSUMER, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[key]) == 0 then spoken = 0 end
end
return { redis.call('GET', KEYS[1]), numbers, spoken }
