#!lua flags=allow-oom
-- Move a job that this worker holds to the dead letters, and drop the oldest of those.
-- A worker that doesn't hold the job any more changes nothing.
-- KEYS  1 jobs HASH, 2 a:<worker> LIST, 3 dead ZSET, 4 deadx HASH, 5 crash HASH, 6 stats HASH
-- ARGV  1 id, 2 what is told about it, 3 how many dead letters to keep, 4 and for how long (ms)
-- RETURNS  1 if it was done, 0 if the job is not (or no longer) this worker's
local jobs, dead, deadx = KEYS[1], KEYS[3], KEYS[4]
local id = ARGV[1]
redis.call('ZCARD', dead)
redis.call('HLEN', deadx)
if redis.call('LREM', KEYS[2], 1, id) == 0 or redis.call('HEXISTS', jobs, id) == 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', dead, now, id)
redis.call('HSET', deadx, id, ARGV[2])
redis.call('HDEL', KEYS[5], id)
redis.call('HINCRBY', KEYS[6], 'dead', 1)

local old = redis.call('ZRANGEBYSCORE', dead, '-inf', now - tonumber(ARGV[4]), 'LIMIT', 0, 100)
local excess = redis.call('ZCARD', dead) - #old - tonumber(ARGV[3])
if excess > 0 then
  old = redis.call('ZRANGE', dead, 0, #old + math.min(excess, 100) - 1)
end
if #old > 0 then
  redis.call('ZREM', dead, unpack(old))
  redis.call('HDEL', deadx, unpack(old))
  redis.call('HDEL', jobs, unpack(old))
end
return 1
