-- ARGV[5]: shard. ARGV[6]: the position that the changes follow. ARGV[7]: the position to store.
-- Then each change: position, '+' or '-', when the order was placed, order, how many products, the products.
-- Answers how many changes were above the stored position.
local shard, through = ARGV[5], tonumber(ARGV[7])
local stored = tonumber(redis.call('HGET', key('positions'), shard) or 0)
if tonumber(ARGV[6]) > stored then return { 'moved' } end
advance()

local counted, at = 0, 8
while at <= #ARGV do
  local position, kind, placed, order = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local products = {}
  for i = at + 5, at + 4 + tonumber(ARGV[at + 4]) do products[#products + 1] = ARGV[i] end
  at = at + 5 + #products
  if position > stored then
    counted = counted + 1
    if kind == '-' then
      if redis.call('ZREM', key('future'), order) == 1 then
        redis.call('HDEL', key('future:products'), order)
      elseif minute_of(placed) >= cursor then
        for _, product in ipairs(products) do take_out(product, order, placed) end
      end
    elseif tonumber(placed) >= now then
      redis.call('ZADD', key('future'), placed, order)
      redis.call('HSET', key('future:products'), order, table.concat(products, ','))
    else
      place(order, placed, products)
    end
  end
end
if through > stored then redis.call('HSET', key('positions'), shard, ARGV[7]) end
return { 'ok', counted }
