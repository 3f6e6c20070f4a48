-- Serves the generation ARGV[2] from now on. The one before it takes no more events. Answers the time.
if redis.call('EXISTS', key('cursor')) == 0 then return { 'missing' } end
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], generation)
if before and before ~= generation then redis.call('DEL', ARGV[1] .. before .. ':cursor') end
return { 'ok', string.format('%.0f', now) }
