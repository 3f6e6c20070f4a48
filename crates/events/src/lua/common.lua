-- KEYS[1] generation, KEYS[2] heads, KEYS[3..18] the streams of shards 0..15, then for each consumer that the relay
-- waits for: its acknowledged positions, and those of the replay that it may have under way.
local SHARDS, FIRST_STREAM, FIRST_CONSUMER = 16, 3, 19

local function stream(shard) return KEYS[FIRST_STREAM + shard] end

-- The number of the last event that the stream took, also when it was trimmed since.
local function top(shard)
  if redis.call('EXISTS', stream(shard)) == 0 then return 0 end
  local info = redis.call('XINFO', 'STREAM', stream(shard))
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '^%d+')) end
  end
end

-- The position up to which every consumer is done: with the replay that it has under way, else as it acknowledged. One
-- that never spoke is done with nothing. False without consumers.
local function acknowledged(shard)
  local least = false
  for key = FIRST_CONSUMER, #KEYS, 2 do
    local spoken = redis.call('EXISTS', KEYS[key + 1]) == 1 and KEYS[key + 1] or KEYS[key]
    local position = tonumber(redis.call('HGET', spoken, shard) or 0)
    least = math.min(least or position, position)
  end
  return least
end

local function forget_all(generation)
  redis.call('DEL', KEYS[2])
  for shard = 0, SHARDS - 1 do redis.call('DEL', stream(shard)) end
  redis.call('SET', KEYS[1], generation)
end
