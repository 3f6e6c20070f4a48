-- ARGV[1]: the generation to end, empty for any. ARGV[2]: the one that begins.
-- ARGV[3]: milliseconds for which the positions of a replay live; with it KEYS[19] holds them, all 0 now.
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
forget_all(ARGV[2])
if ARGV[3] then
  redis.call('DEL', KEYS[FIRST_CONSUMER])
  redis.call('HSET', KEYS[FIRST_CONSUMER], 0, 0)
  redis.call('PEXPIRE', KEYS[FIRST_CONSUMER], ARGV[3])
end
return 1
