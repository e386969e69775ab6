-- purpose: put a value that was given by hand in its place, whatever is being computed meanwhile
-- KEYS[1]  V, the value (string)
-- KEYS[2]  W, the envelope, staged with its TTL (string)
-- KEYS[3]  L, the lease (string)
-- KEYS[4]  T, the shard's log (zset)
-- ARGV[1]  length of the envelope's header in bytes
-- ARGV[2]  "now": it is as of now, and always valid; "then": as of the epoch in its header
-- ARGV[3]  "set"; "add": only if get() would find nothing
-- ARGV[4]  minus the nonce for a new log, should there be none
-- RETURNS  1 stored; 0 invalidated since its epoch, or that can't be told as the log is another one;
--          -1 it was evicted before it was in its place; 2 there is a value
local value, staged, lease, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function verdict()
  if redis.call('STRLEN', staged) < tonumber(ARGV[1]) then
    return -1 -- evicted between the two commands
  end
  if ARGV[3] == 'add' and found(value, log) then
    return 2
  end
  if ARGV[2] == 'now' then
    make_current(staged, state_of(log, ARGV[4]))
    return 1
  end
  local header = header_of(redis.call('GETRANGE', staged, 0, tonumber(ARGV[1]) - 1), value)
  return invalidated(log, header) and 0 or 1
end

local result = verdict()
if result == 1 then
  redis.call('RENAME', staged, value)
  redis.call('DEL', lease)
else
  redis.call('DEL', staged)
end
return result
