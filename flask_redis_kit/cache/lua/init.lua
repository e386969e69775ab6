-- purpose: make an invalidation log where there is none, and tell its state
-- KEYS[1]  T, the shard's log (zset)
-- ARGV[1]  minus the nonce for a new log: its identity, a random whole number of 52 bits
-- RETURNS  {score of !n (-nonce), of !s (seq), of !f (-floor), of !~ (-soft, or nil)} as strings
local log = KEYS[1]
if not redis.call('ZSCORE', log, '!n') then
  redis.call('ZADD', log, 'NX', ARGV[1], '!n', 0, '!s', 0, '!f')
end
return redis.call('ZMSCORE', log, '!n', '!s', '!f', '!~')
