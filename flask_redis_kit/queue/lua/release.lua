#!lua flags=allow-oom
-- Give back the jobs that a worker holds, except some, to the head of their lists: they were not
-- run, or not to the end, and no attempt is counted. A worker that leaves is signed off.
-- KEYS  1 jobs HASH, 2 a:<worker> LIST, 3-5 w:h w:n w:l LIST, 6 wake LIST, 7 workers ZSET
-- ARGV  1 worker, 2 "1" if it leaves for good, then the ids to keep
-- RETURNS  how many were given back
local jobs, active = KEYS[1], KEYS[2]
local waiting = {h = KEYS[3], n = KEYS[4], l = KEYS[5]}
redis.call('LLEN', KEYS[3])
redis.call('LLEN', KEYS[4])
redis.call('LLEN', KEYS[5])
local kept = {}
for i = 3, #ARGV do
  kept[ARGV[i]] = true
end
local given = 0
local held = redis.call('LRANGE', active, 0, -1)
for i = #held, 1, -1 do -- the last first, so that the first comes to stand at the head
  local id = held[i]
  if not kept[id] then
    local envelope = redis.call('HGET', jobs, id)
    if envelope then
      redis.call('LPUSH', waiting[string.sub(envelope, 2, 2)] or waiting.n, id)
      given = given + 1
    end
    redis.call('LREM', active, -1, id)
  end
end
if ARGV[2] == '1' and redis.call('LLEN', active) == 0 then
  redis.call('ZREM', KEYS[7], ARGV[1])
end
if given > 0 and redis.call('EXISTS', KEYS[6]) == 0 then
  redis.call('RPUSH', KEYS[6], '1')
end
return given
