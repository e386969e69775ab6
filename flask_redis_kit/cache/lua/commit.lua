-- purpose: put a computed value in its place, unless it was invalidated meanwhile; end the lease
-- KEYS[1]  V, the value (string)
-- KEYS[2]  W, the envelope, staged with its TTL (string)
-- KEYS[3]  L, the lease (string)
-- KEYS[4]  T, the shard's log (zset)
-- ARGV[1]  the token of the lease
-- ARGV[2]  length of the envelope's header in bytes: nothing more of it enters Lua
-- ARGV[3]  "held": the lease must be held; "unless": an absent one will do (it has expired), unless
--          somebody has stored a value since; "absent": an absent one will do
-- A lease or a log of another type (an error from pcall) counts as lost.
-- RETURNS  1 stored; 0 a tag was invalidated while computing; -1 the log is another one, or the
--          value's moment lies outside of it; -2 the lease was lost
local value, staged, lease, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local holder = redis.pcall('GET', lease)
local mine = holder == ARGV[1]

local function verdict()
  local header = redis.call('GETRANGE', staged, 0, tonumber(ARGV[2]) - 1)
  if #header < tonumber(ARGV[2]) then
    return -1 -- evicted between the two commands
  end
  local own = header_of(header, value)
  local seq = own.seq
  local state = redis.pcall('ZMSCORE', log, '!n', '!s', '!f')
  if state.err or not state[1] or -tonumber(state[1]) ~= own.nonce then
    return -1
  end
  if seq > tonumber(state[2]) or seq < -tonumber(state[3]) then
    return -1
  end
  if not mine and not (holder == false and ARGV[3] ~= 'held') then
    return -2
  end
  if not mine and ARGV[3] == 'unless' then
    -- a value that is there now was not there when this turn began: it may be a newer one
    local there = found(value, log)
    if there and there.seq >= seq then
      return -2
    end
  end
  for _, tag in ipairs(own.tags) do
    local bumped = redis.call('ZSCORE', log, tag)
    if bumped and tonumber(bumped) > seq then
      return 0
    end
  end
  return 1
end

local result = verdict()
if result == 1 then
  redis.call('RENAME', staged, value)
else
  redis.call('DEL', staged)
end
if mine then
  redis.call('DEL', lease)
end
return result
