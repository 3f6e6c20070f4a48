-- A generation is: cursor, the first minute that is still counted; m:<minute>, orders by product; total, their sum over
-- all minutes from the cursor on; orders:<product>, its newest orders by time; recency, the time of the newest of those;
-- future and future:products, orders that are not placed yet by this server's clock; positions, events counted.
local cursor = generation ~= '' and tonumber(redis.call('GET', key('cursor')) or '')
if not cursor then return { 'missing' } end

local NEWEST = 32        -- of a product's orders, for when the newest is cancelled
local WORK = 20000       -- entries subtracted in one call, so that the server is not held up for long
local CHUNK = 2000       -- arguments of one call, an even number
local FADED = 3600       -- seconds until a minute that was subtracted is gone

local function minute_of(placed) return math.floor(tonumber(placed) / MINUTE) end

local function subtract(product, count)
  local left = tonumber(redis.call('ZINCRBY', key('total'), -count, product))
  if left > 0 then return true end
  redis.call('ZREM', key('total'), product)
  redis.call('ZREM', key('recency'), product)
  redis.call('DEL', key('orders:' .. product))
  return false
end

-- What was added and is not written yet: many orders of a product become one change of each of its keys.
local minutes, totals, added, newest = {}, {}, {}, {}

local function add(product, order, placed)
  local minute = minute_of(placed)
  local counts, orders = minutes[minute] or {}, added[product] or {}
  minutes[minute], added[product] = counts, orders
  counts[product] = (counts[product] or 0) + 1
  totals[product] = (totals[product] or 0) + 1
  orders[#orders + 1], orders[#orders + 2] = placed, order
  if tonumber(placed) > tonumber(newest[product] or 0) then newest[product] = placed end
end

local function write()
  for minute, counts in pairs(minutes) do
    for product, count in pairs(counts) do redis.call('HINCRBY', key('m:' .. minute), product, count) end
  end
  for product, count in pairs(totals) do redis.call('ZINCRBY', key('total'), count, product) end
  for product, orders in pairs(added) do
    local name = key('orders:' .. product)
    for from = 1, #orders, CHUNK do
      redis.call('ZADD', name, unpack(orders, from, math.min(from + CHUNK - 1, #orders)))
    end
    redis.call('ZREMRANGEBYRANK', name, 0, -NEWEST - 1)
  end
  local recent = {}
  for product, placed in pairs(newest) do recent[#recent + 1], recent[#recent + 2] = placed, product end
  for from = 1, #recent, CHUNK do
    redis.call('ZADD', key('recency'), 'GT', unpack(recent, from, math.min(from + CHUNK - 1, #recent)))
  end
  minutes, totals, added, newest = {}, {}, {}, {}
end

local function take_out(product, order, placed)
  write()
  local minute = key('m:' .. minute_of(placed))
  local orders = key('orders:' .. product)
  if redis.call('HINCRBY', minute, product, -1) <= 0 then redis.call('HDEL', minute, product) end
  redis.call('ZREM', orders, order)
  if not subtract(product, 1) then return end
  local newest = redis.call('ZREVRANGE', orders, 0, 0, 'WITHSCORES')
  redis.call('ZADD', key('recency'), newest[2] or 0, product)
end

local function place(order, placed, products)
  if minute_of(placed) < cursor then return end
  for _, product in ipairs(products) do add(product, order, placed) end
end

-- Moves the cursor to the window's first minute, and orders out of the future. True when there is more to do.
local function advance()
  local work = 0
  while cursor < first and work < WORK do
    local minute = key('m:' .. cursor)
    local counts = redis.call('HGETALL', minute)
    for i = 1, #counts, 2 do subtract(counts[i], tonumber(counts[i + 1])) end
    if #counts > 0 then redis.call('EXPIRE', minute, FADED) end
    work = work + 1 + #counts
    cursor = cursor + 1
  end
  redis.call('SET', key('cursor'), cursor)
  local placed = string.format('(%.0f', now)
  local due = redis.call('ZRANGEBYSCORE', key('future'), '-inf', placed, 'WITHSCORES', 'LIMIT', 0, 1000)
  for i = 1, #due, 2 do
    local products = {}
    local listed = redis.call('HGET', key('future:products'), due[i]) or ''
    for product in string.gmatch(listed, '%d+') do products[#products + 1] = product end
    place(due[i], due[i + 1], products)
    redis.call('ZREM', key('future'), due[i])
    redis.call('HDEL', key('future:products'), due[i])
  end
  write()
  return cursor < first or #due == 2000
end
