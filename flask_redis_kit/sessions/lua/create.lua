-- Store a new session.
--
-- Sent again after a lost reply it finds its own incarnation and reports success. A tombstone means
-- that the id was revoked while the session was being created: the revocation wins.
--
-- KEYS     1 session (hash)
-- ARGV     1 time to live (s), 2 the field '\0c', 3 incarnation, then pairs of field and value
-- RETURNS  1 created; 0 refused by a tombstone; else (string) the incarnation that is there already

local CHUNK = 7000 -- arguments per command: Lua's stack bounds unpack; even, to keep pairs together

local present = redis.call('HGET', KEYS[1], '\0c')
if present then
  return present == ARGV[3] and 1 or present
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
for from = 2, #ARGV, CHUNK do
  redis.call('HSET', KEYS[1], unpack(ARGV, from, math.min(from + CHUNK - 1, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
