-- Begins an empty generation.
redis.call('SET', key('cursor'), first)
return { 'ok' }
