-- Store a session under a new id, end it under the old one, and keep its user's index: what
-- create.lua, enrol.lua and destroy.lua do, in one step, where all keys are on one server.
--
-- Stored first: a full server refuses that, and then nothing has happened. Sent again after a lost
-- reply it finds its own incarnation and its own tombstone, and reports the same.
--
-- KEYS     1 new session (hash), 2 old session (hash), then, each where it is said below that there
--          is one: index of the user (zset), index of the user before him (zset)
-- ARGV     1 time to live (s)
--          2 tombstone of the old one: 'r' and, after it, what tells this rotation from another
--          3 grace (s): how long that stays
--          4 1: it must be there under the old id; 0: somebody logs in, that counts all the same
--          5 1: the old one was Flask-Session's; 0: it was not
--          6 hashed new id, 7 hashed old id
--          8 how long the entry in the user's index is valid from now on (s); empty: no user
--          9 how many entries are not too many; 0: any number
--          10 how long a new entry lives at least, less the time that storing may take (s)
--          11 how long it lives at most (s), unless field '\0a' (unix time, s) says when it ends at
--            the latest; empty: neither
--          12 the field '\0c', 13 incarnation, then pairs of field and value
-- RETURNS  list: 1 stored, 0 the new id has a tombstone, -1 the old session was gone; then of the
--          user's other entries, if there are too many, pairs of hashed id and 1: it has been there
--          for longer than storing takes, 0: it may be new

local CHUNK = 7000 -- arguments per command: Lua's stack bounds unpack; even, to keep pairs together
local TTL, TOMBSTONE, GRACE, NEEDED, MOVED, NEW, OLD, ENTRY, MOST = 1, 2, 3, 4, 5, 6, 7, 8, 9
local LEAST, LIMIT, INCARNATION = 10, 11, 13

local old = redis.pcall('HMGET', KEYS[2], '\0c', '\0x')
local foreign = old.err -- another program's key: it stays
local ended = not foreign and old[2] == ARGV[TOMBSTONE]

local function end_old(tombstone)
  if foreign or ended then
    return
  end
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[2], '\0x', tombstone)
  if ARGV[MOVED] == '1' then -- ending it once more must not shorten that
    redis.call('HSET', KEYS[2], '\0m', '')
  end
  redis.call('EXPIRE', KEYS[2], ARGV[GRACE])
end

if ARGV[NEEDED] == '1' and (foreign or not (old[1] or ended)) then
  end_old(string.sub(ARGV[TOMBSTONE], 1, -2) .. 'x') -- not what a call that is sent again looks for
  return { -1 }
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  for from = INCARNATION - 1, #ARGV, CHUNK do
    redis.call('HSET', KEYS[1], unpack(ARGV, from, math.min(from + CHUNK - 1, #ARGV)))
  end
  redis.call('EXPIRE', KEYS[1], ARGV[TTL])
  if ARGV[LIMIT] ~= '' then
    redis.call('HSETNX', KEYS[1], '\0a', redis.call('TIME')[1] + ARGV[LIMIT])
    redis.call('EXPIREAT', KEYS[1], redis.call('HGET', KEYS[1], '\0a'), 'LT')
  end
elseif redis.call('HGET', KEYS[1], '\0c') ~= ARGV[INCARNATION] then
  return { 0 }
end

local index = ARGV[ENTRY] ~= '' and KEYS[3]
local before = KEYS[index and 4 or 3]
if before then
  redis.pcall('ZREM', before, ARGV[OLD])
end
local answer = { 1 }
if index then
  local now = tonumber(redis.call('TIME')[1])
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
  redis.call('ZADD', index, 'GT', now + ARGV[ENTRY], ARGV[NEW])
  if redis.call('EXPIRE', index, ARGV[ENTRY], 'GT') == 0 then
    redis.call('EXPIRE', index, ARGV[ENTRY], 'NX') -- it is new
  end
  if ARGV[MOST] ~= '0' and redis.call('ZCARD', index) > tonumber(ARGV[MOST]) then
    local roll = redis.call('ZRANGE', index, 0, -1, 'WITHSCORES')
    for position = 1, #roll, 2 do
      if roll[position] ~= ARGV[NEW] then
        local settled = tonumber(roll[position + 1]) <= now + ARGV[LEAST]
        answer[#answer + 1] = roll[position]
        answer[#answer + 1] = settled and 1 or 0
      end
    end
  end
end

end_old(ARGV[TOMBSTONE])
return answer
