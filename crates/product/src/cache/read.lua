-- KEYS: copies. Answers the time in milliseconds, the copies, and the milliseconds that each has left.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local left = {}
for i, key in ipairs(KEYS) do left[i] = redis.call('PTTL', key) end
return { string.format('%.0f', now), redis.call('MGET', unpack(KEYS)), left }
