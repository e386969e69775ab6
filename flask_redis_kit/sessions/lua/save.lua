-- Write the changed fields of a session that is still the one which was loaded.
--
-- A logout, a rotation, a revocation or the expiry in between has taken the incarnation away: then
-- nothing is written, so a slow request can't bring a session back. Fields that are not named keep
-- what other requests stored in them. Running it twice is the same as once.
--
-- KEYS     1 session (hash)
-- ARGV     1 incarnation that was loaded, 2 time to live (s), 3 number of fields to set,
--          then that many pairs of field and value, then the fields to delete
-- RETURNS  1 saved; 0 the session is gone, or is another incarnation

local CHUNK = 7000 -- arguments per command: Lua's stack bounds unpack; even, to keep pairs together

if redis.call('HGET', KEYS[1], '\0c') ~= ARGV[1] then
  return 0
end

local function apply(command, first, last)
  for from = first, last, CHUNK do
    redis.call(command, KEYS[1], unpack(ARGV, from, math.min(from + CHUNK - 1, last)))
  end
end

local deletions = 4 + 2 * tonumber(ARGV[3])
apply('HSET', 4, deletions - 1)
apply('HDEL', deletions, #ARGV)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
