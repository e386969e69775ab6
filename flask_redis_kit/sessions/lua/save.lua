-- Write the changed fields of a session that is still the one which was loaded.
--
-- A logout, a rotation, a revocation or the expiry in between has taken the incarnation away: then
-- nothing is written, so a slow request can't bring a session back. Fields that are not named keep
-- what other requests stored in them. Who removed the last fields that he knows of gives a
-- tombstone: if no other field is there, the session ends. Who holds the session's lock gives his
-- token: nothing is written once the lock is another's. Sent again after a lost reply it changes
-- nothing more.
--
-- KEYS     1 session (hash), 2 its lock (string), if a token is given
-- ARGV     1 incarnation that was loaded; empty: whichever it is
--          2 time to live (s), unless field '\0a' says less
--          3 token of the lock; empty: none
--          4 1: release the lock, 0: keep it
--          5 tombstone: the reason and, after it, what tells this ending from another one; empty:
--            the session goes on without fields, too
--          6 grace (s): how long a tombstone stays
--          7 grace (s) of one that was Flask-Session's: it may be stored there still
--          8 the field that alone is not worth storing
--          9 what '\0m' must still be; empty: anything
--          10 number of fields to set, then that many pairs of field and value, then the fields to
--            delete
-- RETURNS  1 saved; 2 the session has ended; 0 it was gone, or is another incarnation, or
--          its '\0m' is another one;
--          -1 the lock is another's

local CHUNK = 7000 -- arguments per command: Lua's stack bounds unpack; even, to keep pairs together
local TTL, TOKEN, RELEASE, TOMBSTONE, GRACE, MOVED_GRACE, ALONE, MOVED, SET = 2, 3, 4, 5, 6, 7, 8, 9, 10

local may_end = ARGV[TOMBSTONE] ~= ''
if may_end and redis.call('HGET', KEYS[1], '\0x') == ARGV[TOMBSTONE] then
  return 2
end
local stored = redis.call('HMGET', KEYS[1], '\0c', '\0l', '\0a')
local gone = not stored[1] or (ARGV[1] ~= '' and stored[1] ~= ARGV[1])

if ARGV[TOKEN] ~= '' then
  if not gone and stored[2] == ARGV[TOKEN] then
    return 1 -- it was saved and released before, and others may have written since
  end
  local held = redis.call('GET', KEYS[2]) == ARGV[TOKEN]
  if not held and not gone then
    return -1
  end
  if ARGV[RELEASE] == '1' and held then
    if not gone then
      redis.call('HSET', KEYS[1], '\0l', ARGV[TOKEN])
    end
    redis.call('DEL', KEYS[2])
  end
end
if gone or (ARGV[MOVED] ~= '' and redis.call('HGET', KEYS[1], '\0m') ~= ARGV[MOVED]) then
  return 0
end

local deadline = stored[3]
local deletions = SET + 1 + 2 * tonumber(ARGV[SET])
for from = SET + 1, deletions - 1, CHUNK do
  local upto = math.min(from + CHUNK, deletions) - 1
  redis.call('HSET', KEYS[1], unpack(ARGV, from, upto))
end
for from = deletions, #ARGV, CHUNK do
  redis.call('HDEL', KEYS[1], unpack(ARGV, from, math.min(from + CHUNK - 1, #ARGV)))
end
for name = SET + 1, deletions - 1, 2 do
  deadline = ARGV[name] == '\0a' and ARGV[name + 1] or deadline
end

local ends = may_end
if may_end then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    ends = ends and (field == ARGV[ALONE] or string.byte(field) == 0)
  end
end
if ends then
  local moved = redis.call('HEXISTS', KEYS[1], '\0m') == 1
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], '\0x', ARGV[TOMBSTONE])
  if moved then
    redis.call('HSET', KEYS[1], '\0m', '') -- ending it once more must not shorten its grace
  end
  redis.call('EXPIRE', KEYS[1], ARGV[moved and MOVED_GRACE or GRACE])
  return 2
end

redis.call('EXPIRE', KEYS[1], ARGV[TTL])
if deadline then
  redis.call('EXPIREAT', KEYS[1], deadline, 'LT')
end
return 1
