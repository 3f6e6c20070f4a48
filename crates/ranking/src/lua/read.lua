-- ARGV[5]: how many products, 0 for all. Answers the generation, the window's first minute, the time, the positions, and
-- product, count, time of the newest order of all that have at least the count of the last one asked for.
if advance() then return { 'more' } end
local least, wanted = '1', tonumber(ARGV[5])
if wanted > 0 then
  local last = redis.call('ZREVRANGE', key('total'), wanted - 1, wanted - 1, 'WITHSCORES')
  least = last[2] or least
end
local counts = redis.call('ZRANGEBYSCORE', key('total'), least, '+inf', 'WITHSCORES')
local entries = {}
for start = 1, #counts, 2000 do
  local products = {}
  for i = start, math.min(start + 1998, #counts), 2 do products[#products + 1] = counts[i] end
  local newest = redis.call('ZMSCORE', key('recency'), unpack(products))
  for i, product in ipairs(products) do
    entries[#entries + 1] = product
    entries[#entries + 1] = counts[start + 2 * i - 1]
    entries[#entries + 1] = newest[i] or '0'
  end
end
local time = string.format('%.0f', now)
return { 'ok', generation, cursor, time, redis.call('HGETALL', key('positions')), entries }
