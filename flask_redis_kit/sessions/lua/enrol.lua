-- Enter a session in its user's index, or prolong its entry; entries that are over are removed.
--
-- If there are too many by now, it says which came before: whoever is entered later ends those, so
-- two that come at the same time never end each other. Running it twice is the same as once.
--
-- KEYS     1 index of a user (zset: hashed id, when the session is over for certain)
-- ARGV     1 session: its hashed id, 2 how long it may live from now on (s)
--          3 how many entries are not too many; 0: any number
--          4 how long a new entry lives at least (s), 5 how long storing may take (s)
-- RETURNS  of the other entries, if there are too many, pairs of hashed id and 1: it has been there
--          for longer than storing takes, 0: it may be new

local now = tonumber(redis.call('TIME')[1])
local most = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], 'GT', now + ARGV[2], ARGV[1])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
if most == 0 or redis.call('ZCARD', KEYS[1]) <= most then
  return {}
end

local others = {}
local roll = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for position = 1, #roll, 2 do
  if roll[position] ~= ARGV[1] then
    others[#others + 1] = roll[position]
    others[#others + 1] = tonumber(roll[position + 1]) <= now + ARGV[4] - ARGV[5] and 1 or 0
  end
end
return others
