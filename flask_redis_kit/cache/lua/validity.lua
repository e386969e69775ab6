-- purpose: prelude of the scripts that ask whether a value is there: whether get() would find it
-- KEYS     none: the functions get the keys that their script was given
-- ARGV     none
-- RETURNS  nothing; found() returns the value's header, or nil if it is absent, stale or invalidated
local EPOCH_AT, TIMES_AT = 4, 20 -- where nonce and seq, fresh and total stand in an envelope

-- The state of the log that is there, or of the one that is made with this (negative) nonce.
local function state_of(log, new_nonce)
  if not redis.call('ZSCORE', log, '!n') then
    redis.call('ZADD', log, 'NX', new_nonce, '!n', 0, '!s', 0, '!f')
  end
  return redis.call('ZMSCORE', log, '!n', '!s', '!f')
end

-- Gives the envelope at this key the log's present epoch.
local function make_current(key, state)
  redis.call('SETRANGE', key, EPOCH_AT, struct.pack('>dd', -tonumber(state[1]), tonumber(state[2])))
end

local function header_of(text)
  local magic, version, flags, nonce, seq, fresh, total, _, count, at =
    struct.unpack('>c2BBddddI4B', text)
  local header = {nonce = nonce, seq = seq, fresh = fresh, total = total, flags = flags, tags = {}}
  for n = 1, count do
    header.tags[n], at = struct.unpack('>Bc0', text, at)
  end
  header.length = at - 1
  return magic == 'FC' and version == 1 and header
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
  local readable, header = pcall(header_of, text)
  if not readable or not header then
    return nil
  end
  if redis.call('PTTL', value) <= header.total - header.fresh or invalidated(log, header) then
    return nil
  end
  return header
end
