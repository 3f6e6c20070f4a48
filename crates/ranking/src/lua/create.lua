-- Begins an empty generation.
redis.call('HSET', key('cursor'), 'minute', first)
return { 'ok' }
