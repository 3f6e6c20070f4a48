-- ARGV[1]: the generation meant. ARGV[2]: entries that a stream without consumers keeps.
-- Then for each shard: its number, the top that the events follow, the top that they lead to, the outbox's head, how many
-- events, and each event's number and bytes. A shard whose top is another takes nothing. Answers 0 when the generation is another.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local at = 3
while at <= #ARGV do
  local shard, after, through = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local head, count = ARGV[at + 3], tonumber(ARGV[at + 4])
  at = at + 5
  if top(shard) == after then
    for event = at, at + 2 * count - 2, 2 do
      redis.call('XADD', stream(shard), ARGV[event] .. '-0', 'e', ARGV[event + 1])
    end
    if top(shard) < through then
      -- What leads there is retained no more: the entry comes and goes, the stream keeps its number.
      local last = string.format('%.0f-0', through)
      redis.call('XADD', stream(shard), last, 'e', '')
      redis.call('XDEL', stream(shard), last)
    end
    redis.call('HSET', KEYS[2], shard, head)
    local done = acknowledged(shard)
    if not done then
      redis.call('XTRIM', stream(shard), 'MAXLEN', '~', ARGV[2])
    elseif done > 0 then
      redis.call('XTRIM', stream(shard), 'MINID', '~', string.format('%.0f-0', done + 1))
    end
  end
  at = at + 2 * count
end
return 1
