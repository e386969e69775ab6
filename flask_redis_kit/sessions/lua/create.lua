-- Store a new session.
--
-- Sent again after a lost reply it finds its own incarnation and reports success. A tombstone means
-- that the id was revoked while the session was being created: the revocation wins.
--
-- KEYS     1 session (hash)
-- ARGV     1 time to live (s), 2 how long it lives at most (s), 0: no limit, 3 the field '\0c',
--          4 incarnation, then pairs of field and value. A field '\0a' among them (unix time, s) is
--          when it ends at the latest, and 2 is not asked
-- RETURNS  1 created; 0 refused by a tombstone; else (string) the incarnation that is there already

local CHUNK = 7000 -- arguments per command: Lua's stack bounds unpack; even, to keep pairs together

if redis.call('EXISTS', KEYS[1]) == 1 then
  local present = redis.call('HGET', KEYS[1], '\0c')
  return present and (present == ARGV[4] and 1 or present) or 0
end
for from = 3, #ARGV, CHUNK do
  redis.call('HSET', KEYS[1], unpack(ARGV, from, math.min(from + CHUNK - 1, #ARGV)))
end
if ARGV[2] ~= '0' then
  redis.call('HSETNX', KEYS[1], '\0a', redis.call('TIME')[1] + ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
local deadline = redis.call('HGET', KEYS[1], '\0a')
if deadline then
  redis.call('EXPIREAT', KEYS[1], deadline, 'LT')
end
return 1
