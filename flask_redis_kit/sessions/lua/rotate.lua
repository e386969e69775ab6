-- Store a session under a new id, end it under the old one, and keep its user's index: what
-- create.lua, enrol.lua and destroy.lua do, in one step, where all keys are on one server.
--
-- Stored first: a full server refuses that, and then nothing has happened. Sent again after a lost
-- reply it finds its own incarnation and its own tombstone, and reports the same. Of what it takes
-- most is left out most of the time, as each argument costs as much as a command.
--
-- KEYS     1 new session (hash), 2 old session (hash), 3 index of the user (zset), if there is one.
--          A session's hashed id, 43 characters, stands before '}:session:h' in its key
-- ARGV     1 time to live (s)
--          2 incarnation; it also tells this rotation from another one in the old one's tombstone
--          3 how long the entry in the user's index is valid from now on (s)
--          4 empty, or six of these, a comma behind each:
--            1: it must be there under the old id; 0: somebody logs in, that counts all the same
--            1: its entry under the old id is in that index, and goes; 0: it has none there
--            grace (s): how long the tombstone stays, 60 if this is left out
--            1: the old one was Flask-Session's; 0: it was not
--            how many entries in the index are not too many; 0: any number
--            how long a new entry lives at least, less the time that storing may take (s)
--          5 how long it lives at most (s), unless field '\0a' (unix time, s) says when it ends at
--            the latest; empty: neither
--          then pairs of field and value
-- RETURNS  1 stored, 0 the new id has a tombstone, -1 the old session was gone; or, stored, a list:
--          of the user's other entries, as there are too many, pairs of hashed id and 1: it has been
--          there for longer than storing takes, 0: it may be new

local CHUNK = 7000 -- arguments per command: Lua's stack bounds unpack; even, to keep pairs together
local TTL, INCARNATION, ENTRY, OPTIONS, LIMIT, FIELDS = 1, 2, 3, 4, 5, 6

local needed, entered, grace, moved, most, least = '0', '0', '60', '0', 0, 0
if ARGV[OPTIONS] ~= '' then
  local next_one = string.gmatch(ARGV[OPTIONS], '(-?%d+),')
  needed, entered, grace, moved = next_one(), next_one(), next_one(), next_one()
  most, least = tonumber(next_one()), tonumber(next_one())
end

local function end_old(tombstone)
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[2], '\0x', tombstone)
  if moved == '1' then -- ending it once more must not shorten that
    redis.call('HSET', KEYS[2], '\0m', '')
  end
  redis.call('EXPIRE', KEYS[2], grace)
end

local tombstone = 'r' .. ARGV[INCARNATION]
if needed == '1' then
  local old = redis.call('HMGET', KEYS[2], '\0c', '\0x')
  if not old[1] and old[2] ~= tombstone then
    end_old(string.sub(tombstone, 1, -2) .. 'x') -- not what a call that is sent again looks for
    return -1
  end
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  local upto = math.min(FIELDS + CHUNK - 1, #ARGV)
  redis.call('HSET', KEYS[1], '\0c', ARGV[INCARNATION], unpack(ARGV, FIELDS, upto))
  for from = upto + 1, #ARGV, CHUNK do
    redis.call('HSET', KEYS[1], unpack(ARGV, from, math.min(from + CHUNK - 1, #ARGV)))
  end
  redis.call('EXPIRE', KEYS[1], ARGV[TTL])
  if ARGV[LIMIT] ~= '' then
    redis.call('HSETNX', KEYS[1], '\0a', redis.call('TIME')[1] + ARGV[LIMIT])
    redis.call('EXPIREAT', KEYS[1], redis.call('HGET', KEYS[1], '\0a'), 'LT')
  end
elseif redis.call('HGET', KEYS[1], '\0c') ~= ARGV[INCARNATION] then
  return 0
end

local others = {}
local index = KEYS[3]
if index then
  local new = string.sub(KEYS[1], -54, -12)
  local now = tonumber(redis.call('TIME')[1])
  if entered == '1' then
    redis.call('ZREM', index, string.sub(KEYS[2], -54, -12))
  end
  if most > 0 or string.byte(new) % 16 == 0 then -- of sixteen logins one removes what is over
    redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
  end
  redis.call('ZADD', index, 'GT', now + ARGV[ENTRY], new)
  if redis.call('EXPIRE', index, ARGV[ENTRY], 'GT') == 0 then
    redis.call('EXPIRE', index, ARGV[ENTRY], 'NX') -- it is new
  end
  if most > 0 and redis.call('ZCARD', index) > most then
    local roll = redis.call('ZRANGE', index, 0, -1, 'WITHSCORES')
    for position = 1, #roll, 2 do
      if roll[position] ~= new then
        others[#others + 1] = roll[position]
        others[#others + 1] = tonumber(roll[position + 1]) <= now + least and 1 or 0
      end
    end
  end
end

end_old(tombstone)
return #others > 0 and others or 1
