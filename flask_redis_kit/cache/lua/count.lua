-- purpose: add to a number; one that get() would not find begins at 0
-- KEYS[1]  V, the value (string)
-- KEYS[2]  T, the shard's log (zset)
-- ARGV[1]  what to add, a whole number
-- ARGV[2]  the header of a new value: its times and tags; the epoch is filled in here
-- ARGV[3]  how long a new value is kept, in ms; one that is there keeps its time
-- ARGV[4]  minus the nonce for a new log, should there be none
-- RETURNS  the new number, as a string; 0 if what is there is no whole number, 1 if the new one
--          has more than 53 bits: then nothing is changed
local value, log = KEYS[1], KEYS[2]
local header = found(value, log)
local number = 0
if header then
  local payload = redis.call('GETRANGE', value, header.length, -1)
  local version, kind, first = string.byte(payload, 1, 3)
  -- the codec's version, then what msgpack writes before a whole number
  local whole = kind and (kind < 0x80 or kind > 0xdf or (kind > 0xcb and kind < 0xd4))
  if header.flags ~= 0 or version ~= 1 or not whole then
    return 0
  end
  if kind == 0xcf and first > 0x1f then
    return 1 -- unsigned, of 54 bits or more: Lua would take the largest ones for negative
  end
  number = cmsgpack.unpack(string.sub(payload, 2))
end
number = number + tonumber(ARGV[1])
if math.abs(number) > 9007199254740991 then
  return 1
end
local payload = '\1' .. cmsgpack.pack(number)
if header then
  redis.call('SET', value, redis.call('GETRANGE', value, 0, header.length - 1) .. payload, 'KEEPTTL')
else
  redis.call('SET', value, ARGV[2] .. payload, 'PX', ARGV[3])
  make_current(value, state_of(log, ARGV[4]))
end
return string.format('%.0f', number)
