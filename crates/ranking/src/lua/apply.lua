-- ARGV[5]: how many portions. Each: shard, the position that its changes follow, the position to store, how many changes.
-- Then each change: position, '+' or '-', when the order was placed, order, how many products, the products.
-- Answers how many changes were above the stored positions. All portions have their effect, or none.
local portions, at = {}, 6
for _ = 1, tonumber(ARGV[5]) do
  local shard, after = ARGV[at], tonumber(ARGV[at + 1])
  local stored = tonumber(redis.call('HGET', key('positions'), shard) or 0)
  if after > stored then return { 'moved' } end
  portions[#portions + 1] = {
    shard = shard, stored = stored, through = ARGV[at + 2], changes = tonumber(ARGV[at + 3]),
  }
  at = at + 4
end
advance()

local function apply(kind, placed, order, products)
  if kind == '-' then
    if redis.call('ZREM', key('future'), order) == 1 then
      redis.call('HDEL', key('future:products'), order)
    elseif not is_before(placed) then
      for _, product in ipairs(products) do take_out(product, order, placed) end
    end
  elseif tonumber(placed) >= now then
    redis.call('ZADD', key('future'), placed, order)
    redis.call('HSET', key('future:products'), order, table.concat(products, ','))
  else
    place(order, placed, products)
  end
end

local counted = 0
for _, portion in ipairs(portions) do
  for _ = 1, portion.changes do
    local position, kind, placed, order = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local products = {}
    for i = at + 5, at + 4 + tonumber(ARGV[at + 4]) do products[#products + 1] = ARGV[i] end
    at = at + 5 + #products
    if position > portion.stored then
      counted = counted + 1
      apply(kind, placed, order, products)
    end
  end
  if tonumber(portion.through) > portion.stored then
    redis.call('HSET', key('positions'), portion.shard, portion.through)
  end
end
write()
return { 'ok', counted }
