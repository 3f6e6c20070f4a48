-- ARGV[5]: how many products, 0 for all. Answers the generation, the window's first minute, the time, the positions, and
-- product, count, time of the newest order of all that may be among the first so many, in no order.
if advance() then return { 'more' } end
local wanted = tonumber(ARGV[5])
local TIED = 500         -- of as many orders as the last place: all of them are told
local PAGE = 1000        -- products looked at in one call
local entries = {}

local function tell(product, orders, newest)
  entries[#entries + 1], entries[#entries + 2], entries[#entries + 3] = product, orders, newest or '0'
end

local function tell_all(counts)
  for start = 1, #counts, 2 * PAGE do
    local products = {}
    for i = start, math.min(start + 2 * PAGE - 2, #counts), 2 do products[#products + 1] = counts[i] end
    local newest = redis.call('ZMSCORE', key('recency'), unpack(products))
    for i, product in ipairs(products) do tell(product, counts[start + 2 * i - 1], newest[i]) end
  end
end

-- Of the many products of so many orders those that were ordered last, and all that were ordered at the same instant as
-- the last of them. False when they are not found by looking at as many products as there are.
local function tell_newest(orders, missing, most)
  local found, edge = {}, nil
  for from = 0, most, PAGE do
    local recent = redis.call('ZREVRANGE', key('recency'), from, from + PAGE - 1, 'WITHSCORES')
    local products = {}
    for i = 1, #recent, 2 do products[#products + 1] = recent[i] end
    local counts = #products > 0 and redis.call('ZMSCORE', key('total'), unpack(products)) or {}
    for i, product in ipairs(products) do
      local newest = recent[2 * i]
      if edge and newest ~= edge then
        for _, one in ipairs(found) do tell(one[1], orders, one[2]) end
        return true
      end
      if counts[i] == orders then
        found[#found + 1] = { product, newest }
        if #found == missing then edge = newest end
      end
    end
  end
  return false
end

local last = wanted > 0 and redis.call('ZREVRANGE', key('total'), wanted - 1, wanted - 1, 'WITHSCORES')[2]
if not last then
  tell_all(redis.call('ZRANGEBYSCORE', key('total'), '1', '+inf', 'WITHSCORES'))
else
  local above = redis.call('ZRANGEBYSCORE', key('total'), '(' .. last, '+inf', 'WITHSCORES')
  local tied = redis.call('ZCOUNT', key('total'), last, last)
  tell_all(above)
  if tied <= TIED or not tell_newest(last, wanted - #above / 2, tied) then
    tell_all(redis.call('ZRANGEBYSCORE', key('total'), last, last, 'WITHSCORES'))
  end
end
local time = string.format('%.0f', now)
return { 'ok', generation, cursor, time, redis.call('HGETALL', key('positions')), entries }
