-- ARGV[5]: the key of the largest token that was seen. ARGV[6]: the token of whoever asks. Who comes with a smaller one lost
-- the lock to somebody who has begun.
if tonumber(ARGV[6]) < tonumber(redis.call('GET', ARGV[5]) or 0) then return { 'fenced' } end
redis.call('SET', ARGV[5], ARGV[6])
