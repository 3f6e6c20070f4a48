-- KEYS[1] names the generation that is served. ARGV[1]: what the keys of all generations begin with. ARGV[2]: the
-- generation meant, empty for the one that is served. ARGV[3]: the time in microseconds; after a '<' the time of whoever
-- calls: then this server's clock counts, unless it is ahead of that by more than an hour. ARGV[4]: minutes of the window.
local MINUTE = 60000000
local HOUR = 60 * MINUTE
local generation = ARGV[2]
if generation == '' then generation = redis.call('GET', KEYS[1]) or '' end

local function key(name) return ARGV[1] .. generation .. ':' .. name end

local function clock()
  local caller = string.match(ARGV[3], '^<(%d+)$')
  if not caller then return tonumber(ARGV[3]) end
  local time = redis.call('TIME')
  local server = tonumber(time[1]) * 1000000 + tonumber(time[2])
  -- One of the two is wrong, and what is too early harms nothing that does not heal by itself.
  if server > tonumber(caller) + HOUR then return tonumber(caller) end
  return server
end

local now = clock()
-- The window's first minute: all counting is in whole minutes at that end.
local first = math.floor(now / MINUTE) - tonumber(ARGV[4])
