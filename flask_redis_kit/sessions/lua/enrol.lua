-- Enter a session in its user's index, or prolong its entry; entries that are over are removed.
--
-- Running it twice is the same as once.
--
-- KEYS     1 index of a user (zset: hashed id, when the session is over for certain)
-- ARGV     1 session: its hashed id, 2 how long it may live from now on (s)
-- RETURNS  number of entries, this one included

local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], 'GT', now + ARGV[2], ARGV[1])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return redis.call('ZCARD', KEYS[1])
