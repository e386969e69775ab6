#!lua flags=allow-oom
-- One step of a worker: heartbeat, acknowledge finished jobs, move due jobs, fetch new ones.
-- A worker that was reaped is told so (and gets no jobs); its acknowledgements count all the same:
-- the first success wins, a second one finds nothing to do.
-- KEYS  1 jobs HASH, 2 a:<worker> LIST, 3 wake LIST, 4 delayed ZSET, 5-7 w:h w:n w:l LIST,
--       8 workers ZSET, 9 crash HASH, 10 dead ZSET, 11 deadx HASH, 12 meta HASH, 13 stats HASH
-- ARGV  1 worker, 2 lease (ms), 3 jobs wanted, 4 "1" for a worker's first step,
--       5 order of the lists ("hnl" or "lnh"), then the ids of finished jobs
-- RETURNS  {1, or 0 if the worker was reaped; server time (ms); ms until a delayed job is due, or
--       -1; a worker whose lease ran out, or ""; length of a:<worker>;
--       then for each fetched job: id, envelope, times its worker died}
local jobs, active, wake, delayed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local waiting = {h = KEYS[5], n = KEYS[6], l = KEYS[7]}
local workers, crash, dead, deadx = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local worker, want, order = ARGV[1], tonumber(ARGV[3]), ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- a key of a wrong type must raise before a job is taken from its list
redis.call('LLEN', active)
redis.call('HLEN', jobs)
redis.call('HLEN', crash)

local done, late = 0, 0
for i = 6, #ARGV do
  local id = ARGV[i]
  local owned = redis.call('LREM', active, 1, id)
  if redis.call('HDEL', jobs, id) == 1 then
    done = done + 1
    redis.call('HDEL', crash, id)
    if owned == 0 then
      redis.call('ZREM', delayed, id)
      redis.call('ZREM', dead, id)
      redis.call('HDEL', deadx, id)
      late = late + 1
    end
  end
end
if done > 0 then
  redis.call('HINCRBY', KEYS[13], 'done', done)
end
if late > 0 then
  redis.call('HINCRBY', KEYS[13], 'late', late)
end

if ARGV[4] == '1' then
  redis.call('HSETNX', KEYS[12], 'schema', '1')
elseif not redis.call('ZSCORE', workers, worker) then
  return {0, now, -1, '', 0}
end
redis.call('ZADD', workers, now + tonumber(ARGV[2]), worker)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)) do
  local envelope = redis.call('HGET', jobs, id)
  if envelope then
    redis.call('RPUSH', waiting[string.sub(envelope, 2, 2)] or waiting.n, id)
  end
  redis.call('ZREM', delayed, id)
end

local fetched = {}
local paused = redis.call('HEXISTS', KEYS[12], 'paused') == 1
if want > 0 and not paused then
  for i = 1, #order do
    local list = waiting[string.sub(order, i, i)]
    while want > 0 do
      local ids = redis.call('LPOP', list, want)
      if not ids or #ids == 0 then
        break
      end
      local envelopes = redis.call('HMGET', jobs, unpack(ids))
      local crashes = redis.call('HMGET', crash, unpack(ids))
      for n, id in ipairs(ids) do
        if envelopes[n] then -- else cancelled
          redis.call('RPUSH', active, id)
          fetched[#fetched + 1] = id
          fetched[#fetched + 1] = envelopes[n]
          fetched[#fetched + 1] = crashes[n] or '0'
          want = want - 1
        end
      end
    end
  end
end

if not paused and redis.call('EXISTS', wake) == 0 then
  for _, list in pairs(waiting) do
    if redis.call('LLEN', list) > 0 then
      redis.call('RPUSH', wake, '1') -- wakes the next idle worker
      break
    end
  end
end

local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
local expired = redis.call('ZRANGEBYSCORE', workers, '-inf', now, 'LIMIT', 0, 1)[1]
return {
  1, now, due and math.max(0, tonumber(due) - now) or -1, expired or '',
  redis.call('LLEN', active), unpack(fetched)
}
