#!lua flags=allow-oom
-- Take back the jobs of a worker whose lease ran out, at most 200 a call. Each counts one crash and
-- goes to the head of its list; one that has taken too many workers with it is dead.
-- KEYS  1 workers ZSET, 2 a:<dead worker> LIST, 3 jobs HASH, 4-6 w:h w:n w:l LIST, 7 wake LIST,
--       8 crash HASH, 9 dead ZSET, 10 deadx HASH, 11 stats HASH
-- ARGV  1 the dead worker, 2 crashes that are forgiven, 3 what is told about a job with more,
--       4 how many dead letters to keep, 5 and for how long (ms)
-- RETURNS  {jobs given back, jobs dead, jobs still to be taken from it};
--       all 0 if it lives, or was reaped before
local workers, active, jobs, wake, crash = KEYS[1], KEYS[2], KEYS[3], KEYS[7], KEYS[8]
local waiting = {h = KEYS[4], n = KEYS[5], l = KEYS[6]}
for i = 4, 6 do
  redis.call('LLEN', KEYS[i])
end
redis.call('HLEN', crash)
redis.call('ZCARD', KEYS[9])
redis.call('HLEN', KEYS[10])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', workers, ARGV[1])
if not lease or tonumber(lease) > now then
  return {0, 0, 0}
end
local given, died = 0, 0
local ids = redis.call('LRANGE', active, -200, -1)
for i = #ids, 1, -1 do -- the last first, so that the first comes to stand at the head
  local id = ids[i]
  local envelope = redis.call('HGET', jobs, id)
  if not envelope then -- finished or cancelled meanwhile
    redis.call('HDEL', crash, id)
  elseif redis.call('HINCRBY', crash, id, 1) > tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[9], now, id)
    redis.call('HSET', KEYS[10], id, ARGV[3])
    redis.call('HDEL', crash, id)
    died = died + 1
  else
    redis.call('LPUSH', waiting[string.sub(envelope, 2, 2)] or waiting.n, id)
    given = given + 1
  end
end
redis.call('LTRIM', active, 0, -(#ids + 1))
local left = redis.call('LLEN', active)
if left == 0 then
  redis.call('ZREM', workers, ARGV[1])
end
redis.call('HINCRBY', KEYS[11], 'crashed', #ids)
if died > 0 then
  redis.call('HINCRBY', KEYS[11], 'dead', died)
  local dead = KEYS[9]
  local old = redis.call('ZRANGEBYSCORE', dead, '-inf', now - tonumber(ARGV[5]), 'LIMIT', 0, 200)
  local excess = redis.call('ZCARD', dead) - #old - tonumber(ARGV[4])
  if excess > 0 then
    old = redis.call('ZRANGE', dead, 0, #old + math.min(excess, 200) - 1)
  end
  if #old > 0 then
    redis.call('ZREM', dead, unpack(old))
    redis.call('HDEL', KEYS[10], unpack(old))
    redis.call('HDEL', jobs, unpack(old))
  end
end
if given > 0 and redis.call('EXISTS', wake) == 0 then
  redis.call('RPUSH', wake, '1')
end
return {given, died, left}
