-- The sessions in a user's index, and which of them have been there for a while.
--
-- A session is entered before it is stored. Only an entry that is older than that takes may be
-- removed because its session is missing.
--
-- KEYS     1 index of a user (zset: hashed id, when the session is over for certain)
-- ARGV     1 how long a new entry lives at least (s), 2 how long storing may take (s)
-- RETURNS  pairs of hashed id and 1: it has been there for longer than that, 0: it may be new

local now = tonumber(redis.call('TIME')[1])
local roll = redis.call('ZRANGE', KEYS[1], now, '+inf', 'BYSCORE', 'WITHSCORES')
for position = 2, #roll, 2 do
  roll[position] = tonumber(roll[position]) <= now + ARGV[1] - ARGV[2] and 1 or 0
end
return roll
