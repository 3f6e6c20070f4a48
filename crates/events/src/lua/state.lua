-- ARGV[1]: a name for the generation that begins when there is none.
-- Answers the generation and, for each shard: top, announced head (-1: none), acknowledged position (-1: no consumers).
if redis.call('EXISTS', KEYS[1]) == 0 then forget_all(ARGV[1]) end
local numbers = {}
for shard = 0, SHARDS - 1 do
  numbers[#numbers + 1] = top(shard)
  numbers[#numbers + 1] = tonumber(redis.call('HGET', KEYS[2], shard) or -1)
  numbers[#numbers + 1] = acknowledged(shard) or -1
end
return { redis.call('GET', KEYS[1]), numbers }
