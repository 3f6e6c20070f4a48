-- An hour's orders of a product: pairs of minute and count, a byte each, while they are few; then a byte for every minute,
-- or four where one of them has more than 255.
local PAIRS = 58

local function unpack_counts(value)
  local counts = {}
  if #value <= PAIRS then
    for i = 1, #value, 2 do counts[string.byte(value, i)] = string.byte(value, i + 1) end
  else
    local width = #value / 60
    for minute = 0, 59 do
      local count = 0
      for i = width, 1, -1 do count = count * 256 + string.byte(value, minute * width + i) end
      if count > 0 then counts[minute] = count end
    end
  end
  return counts
end

local function pack_counts(counts)
  local pairs_of, most = {}, 0
  for minute = 0, 59 do
    local count = counts[minute]
    if count then
      pairs_of[#pairs_of + 1], pairs_of[#pairs_of + 2] = minute, count
      most = math.max(most, count)
    end
  end
  if most <= 255 and #pairs_of <= PAIRS then return string.char(unpack(pairs_of)) end
  local bytes = {}
  for minute = 0, 59 do
    local count = counts[minute] or 0
    for _ = 1, most <= 255 and 1 or 4 do
      bytes[#bytes + 1] = count % 256
      count = math.floor(count / 256)
    end
  end
  return string.char(unpack(bytes))
end

-- The orders of the minutes from the one up to before the other.
local function sum(value, from, to)
  local orders = 0
  if #value <= PAIRS then
    for i = 1, #value, 2 do
      local minute = string.byte(value, i)
      if minute >= from and minute < to then orders = orders + string.byte(value, i + 1) end
    end
  else
    local width = #value / 60
    for i = from * width + 1, to * width do
      orders = orders + string.byte(value, i) * 256 ^ ((i - 1) % width)
    end
  end
  return orders
end
