-- Remove the last fields that a request knows of, and end the session if no other is there.
--
-- Another request may have stored something meanwhile: then the session goes on with that. What
-- ends leaves a tombstone; sent again after a lost reply the call finds its own, and reports the
-- same as the first time.
--
-- KEYS     1 session (hash)
-- ARGV     1 incarnation that was loaded, 2 time to live (s), 3 grace (s): how long the tombstone
--          stays, 4 tombstone: the reason and, after it, what tells this ending from another one,
--          5 the field that alone is not worth storing, 6 number of fields to set, then that many
--          pairs of field and value, then the fields to delete
-- RETURNS  2 the session has ended; 1 it goes on; 0 it was gone, or is another incarnation

local CHUNK = 7000 -- arguments per command: Lua's stack bounds unpack; even, to keep pairs together

if redis.call('HGET', KEYS[1], '\0x') == ARGV[4] then
  return 2
end
if redis.call('HGET', KEYS[1], '\0c') ~= ARGV[1] then
  return 0
end

local function apply(command, first, last)
  for from = first, last, CHUNK do
    redis.call(command, KEYS[1], unpack(ARGV, from, math.min(from + CHUNK - 1, last)))
  end
end

local deletions = 7 + 2 * tonumber(ARGV[6])
apply('HSET', 7, deletions - 1)
apply('HDEL', deletions, #ARGV)
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if field ~= ARGV[5] and string.byte(field) ~= 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return 1
  end
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '\0x', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 2
