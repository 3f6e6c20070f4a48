-- A generation is: cursor, how far the window's begin has been subtracted; hours, those of which something is kept;
-- <hour>:<block>, of an hour and of the products of a block, the orders of each product by minute; total, their sum over
-- all minutes from the cursor on; orders:<product>, its newest orders by time; recency, the time of the newest of those;
-- future and future:products, orders that are not placed yet by this server's clock; positions, events counted.
--
-- A product costs an hour a few bytes, however often it was ordered in it: so memory is bounded by products and hours.
local at = generation ~= '' and redis.call('HMGET', key('cursor'), 'minute', 'goal', 'block', 'limit') or {}
local cursor = tonumber(at[1] or '')
if not cursor then return { 'missing' } end
-- Up to here the blocks below this one have been subtracted.
local goal, block = tonumber(at[2] or ''), tonumber(at[3] or 0)
local limit = tonumber(at[4] or cursor)
-- The clock was far ahead once, and what is in the window now was subtracted then: only counting afresh brings it back.
local AHEAD = 60         -- minutes
if limit > first + AHEAD then return { 'ahead' } end
-- A clock that is set back by less moves nothing into the window again that has left it.
first = math.max(first, limit)

local NEWEST = 32        -- of a product's orders, for when the newest is cancelled
local WORK = 4000        -- entries looked at in one call, so that the server is not held up for long
local CHUNK = 2000       -- arguments of one call, an even number
local BLOCKS = 512       -- of an hour: below 260,000 products each is small enough to be kept without pointers
local FADED = 600        -- seconds until an hour that was subtracted is gone

local function minute_of(placed) return math.floor(tonumber(placed) / MINUTE) end
local function block_key(hour, number) return key(hour .. ':' .. number) end
local function block_of(product) return tonumber(product) % BLOCKS end

-- Changes how often a product was ordered in a minute. False where it was not ordered that often.
local function count(product, minute, by)
  local hour = math.floor(minute / 60)
  local name = block_key(hour, block_of(product))
  local value = redis.call('HGET', name, product)
  local counts = unpack_counts(value or '')
  local orders = (counts[minute % 60] or 0) + by
  if orders < 0 then return false end
  counts[minute % 60] = orders > 0 and orders or nil
  if not next(counts) then
    redis.call('HDEL', name, product)
  else
    redis.call('HSET', name, product, pack_counts(counts))
    if not value then redis.call('ZADD', key('hours'), hour, hour) end
  end
  return true
end

local function subtract(product, orders)
  local left = tonumber(redis.call('ZINCRBY', key('total'), -orders, product))
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
    for product, orders in pairs(counts) do count(product, minute, orders) end
  end
  for product, orders in pairs(totals) do redis.call('ZINCRBY', key('total'), orders, product) end
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

-- The begin of the newest minute in which a product was ordered: where its newest orders were all cancelled, and which
-- was the newest of the others is not known any better.
local function newest_minute(product)
  for _, hour in ipairs(redis.call('ZREVRANGE', key('hours'), 0, -1)) do
    local value = redis.call('HGET', block_key(hour, block_of(product)), product)
    local latest = -1
    for minute in pairs(unpack_counts(value or '')) do latest = math.max(latest, minute) end
    if latest >= 0 then return string.format('%.0f', (hour * 60 + latest) * MINUTE) end
  end
  return 0
end

local function take_out(product, order, placed)
  write()
  if not count(product, minute_of(placed), -1) then return end
  local orders = key('orders:' .. product)
  redis.call('ZREM', orders, order)
  if not subtract(product, 1) then return end
  local newest = redis.call('ZREVRANGE', orders, 0, 0, 'WITHSCORES')
  redis.call('ZADD', key('recency'), newest[2] or newest_minute(product), product)
end

-- What is before the window is subtracted, or is about to be.
local function is_before(placed) return minute_of(placed) < first end

local function place(order, placed, products)
  if is_before(placed) then return end
  for _, product in ipairs(products) do add(product, order, placed) end
end

local function subtract_block(hour, number, from, to)
  local kept = redis.call('HGETALL', block_key(hour, number))
  for i = 1, #kept, 2 do
    local orders = sum(kept[i + 1], from, to)
    if orders > 0 then subtract(kept[i], orders) end
  end
  return 1 + #kept / 2
end

-- Subtracts what has left the window: of one hour after the other, its minutes up to a goal, block by block.
local function leave()
  local work = 0
  while cursor < first and work < WORK do
    local hour = math.floor(cursor / 60)
    local begin = hour * 60
    goal = goal or math.min(first, begin + 60)
    local is_kept = redis.call('ZSCORE', key('hours'), hour)
    while is_kept and block < BLOCKS and work < WORK do
      work = work + subtract_block(hour, block, cursor - begin, goal - begin)
      block = block + 1
    end
    work = work + 1
    if block == BLOCKS or not is_kept then
      if is_kept and goal == begin + 60 then
        for number = 0, BLOCKS - 1 do redis.call('EXPIRE', block_key(hour, number), FADED) end
        redis.call('ZREM', key('hours'), hour)
      end
      cursor, goal, block = goal, nil, 0
    end
  end
  redis.call('HSET', key('cursor'), 'minute', cursor, 'goal', goal or '', 'block', block, 'limit', first)
end

-- Moves the cursor to the window's first minute, and orders out of the future. True when there is more to do.
local function advance()
  leave()
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
