-- KEYS: the holder. ARGV: who asks, the channel of those who wait. Answers 1 if the lock was theirs.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], '')
return 1
