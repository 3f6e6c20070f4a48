-- KEYS[1] names the generation that is served. ARGV[1]: what the keys of all generations begin with. ARGV[2]: the
-- generation meant, empty for the one that is served. ARGV[3]: the time in microseconds, empty for this server's clock.
-- ARGV[4]: minutes of the window.
local MINUTE = 60000000
local generation = ARGV[2]
if generation == '' then generation = redis.call('GET', KEYS[1]) or '' end

local function key(name) return ARGV[1] .. generation .. ':' .. name end

local function clock()
  if ARGV[3] ~= '' then return tonumber(ARGV[3]) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local now = clock()
-- The window's first minute: all counting is in whole minutes at that end.
local first = math.floor(now / MINUTE) - tonumber(ARGV[4])
