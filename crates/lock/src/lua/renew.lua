-- KEYS: the holder. ARGV: who asks, the lease in milliseconds. Answers 1 while the lock is theirs.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
