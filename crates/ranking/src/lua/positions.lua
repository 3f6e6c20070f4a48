-- Answers the generation, and up to where it has counted.
return { 'ok', generation, redis.call('HGETALL', key('positions')) }
