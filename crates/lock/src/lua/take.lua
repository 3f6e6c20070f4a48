-- KEYS: the holder, the last token. ARGV: who asks, the lease in milliseconds.
-- Answers 1 and the token, or 0 and the milliseconds that the holder's lease has left.
local holder = redis.call('GET', KEYS[1])
-- An end far beyond any lease was written by a clock that was ahead then: nobody renews it, or it would be a lease's.
local MOST = 3600000
if holder and redis.call('PTTL', KEYS[1]) > math.max(MOST, ARGV[2]) then holder = false end
if holder and holder ~= ARGV[1] then return { 0, redis.call('PTTL', KEYS[1]) } end
if not holder then
  -- Never below the clock: a server that lost its data gives no token a second time.
  local time = redis.call('TIME')
  local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local token = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, clock)
  redis.call('SET', KEYS[2], string.format('%.0f', token))
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 1, redis.call('GET', KEYS[2]) }
