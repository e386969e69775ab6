#!lua flags=allow-oom
-- Let a job that this worker holds run again later, with a new envelope (it counts the failures).
-- A worker that doesn't hold the job any more changes nothing.
-- KEYS  1 jobs HASH, 2 a:<worker> LIST, 3 delayed ZSET, 4 wake LIST, 5 stats HASH
-- ARGV  1 id, 2 envelope, 3 delay (ms), 4 counter in stats ("retried", "unknown")
-- RETURNS  1 if it was done, 0 if the job is not (or no longer) this worker's
local id = ARGV[1]
redis.call('ZCARD', KEYS[3])
if redis.call('LREM', KEYS[2], 1, id) == 0 or redis.call('HEXISTS', KEYS[1], id) == 0 then
  return 0
end
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3])
local earliest = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
redis.call('ZADD', KEYS[3], due, id)
redis.call('HSET', KEYS[1], id, ARGV[2])
redis.call('HINCRBY', KEYS[5], ARGV[4], 1)
if (not earliest or due < tonumber(earliest)) and redis.call('EXISTS', KEYS[4]) == 0 then
  redis.call('RPUSH', KEYS[4], '1')
end
return 1
