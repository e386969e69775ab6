-- purpose: prelude of the scripts that ask whether a value is there: whether get() would find it
-- KEYS     none: the functions get the keys that their script was given
-- ARGV     none
-- RETURNS  nothing; found() returns the value's header, or nil if it is absent, stale or invalidated
local MAGIC, VERSION, LONG = 0xfc, 2, 4 -- LONG is a flag: times are whole seconds, not ms
local TIMES_AT, EPOCH_AT = 1, 12 -- where flags and times, nonce and seq stand in an envelope

-- The state of the log that is there, or of the one that is made with this (negative) nonce.
local function state_of(log, new_nonce)
  if not redis.call('ZSCORE', log, '!n') then
    redis.call('ZADD', log, 'NX', new_nonce, '!n', 0, '!s', 0, '!f')
  end
  return redis.call('ZMSCORE', log, '!n', '!s', '!f')
end

-- Gives the envelope at this key the log's present epoch.
local function make_current(key, state)
  local epoch = struct.pack('>I7I6', -tonumber(state[1]), tonumber(state[2]))
  redis.call('SETRANGE', key, EPOCH_AT, epoch)
end

-- Gives the envelope at this key other times, in ms.
local function make_last(key, header, fresh, grace)
  local kind = VERSION * 16 + header.flags
  if math.max(fresh, grace) >= 4294967296 then
    kind, fresh, grace = kind + LONG, math.ceil(fresh / 1000), math.ceil(grace / 1000)
  end
  redis.call('SETRANGE', key, TIMES_AT, struct.pack('>BI4I4', kind, fresh, grace))
end

-- The header at the start of a text; false if it is none. The tag of the value's key is implied.
local function header_of(text, value)
  local magic, kind, fresh, grace, _, nonce, seq, count, at = struct.unpack('>BBI4I4HI7I6B', text)
  if magic ~= MAGIC or math.floor(kind / 16) ~= VERSION then
    return false
  end
  local flags, unit = kind % 16, 1
  if flags % (2 * LONG) >= LONG then
    flags, unit = flags - LONG, 1000
  end
  local header = {nonce = nonce, seq = seq, flags = flags, fresh = fresh * unit, grace = grace * unit}
  header.tags = {'k:' .. string.match(value, '[^:]*$')}
  for n = 2, count + 1 do
    header.tags[n], at = struct.unpack('>Bc0', text, at)
  end
  header.length = at - 1
  return header
end

-- Whether the log has written down an invalidation of this after the envelope's epoch.
local function invalidated(log, header)
  local state = redis.call('ZMSCORE', log, '!n', '!s', '!f', '!~')
  if not state[1] or -tonumber(state[1]) ~= header.nonce then
    return true
  end
  if header.seq > tonumber(state[2]) or header.seq < -tonumber(state[3]) then
    return true
  end
  local softly = state[4] and -tonumber(state[4]) > header.seq
  for _, tag in ipairs(header.tags) do
    local bumped = redis.call('ZSCORE', log, tag)
    if bumped and tonumber(bumped) > header.seq then
      return true
    end
    local softened = softly and redis.call('ZSCORE', log, '~' .. tag)
    if softened and tonumber(softened) > header.seq then
      return true
    end
  end
  return false
end

local function found(value, log)
  local text = redis.pcall('GETRANGE', value, 0, 2047)
  if type(text) ~= 'string' then
    return nil -- a key of another type
  end
  local readable, header = pcall(header_of, text, value)
  if not readable or not header then
    return nil
  end
  if redis.call('PTTL', value) <= header.grace or invalidated(log, header) then
    return nil
  end
  return header
end
