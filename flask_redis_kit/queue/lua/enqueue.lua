-- Put 1 to 1000 jobs of one queue where workers find them; the wake token is set if needed.
-- A job that exists already is left alone, so a repeated call changes nothing.
-- KEYS  1 jobs HASH, 2 w:h LIST, 3 w:n LIST, 4 w:l LIST, 5 wake LIST, 6 delayed ZSET
-- ARGV  delay (ms, 0: now), then for each job: id, envelope (its second byte is the priority)
-- RETURNS  how many jobs are new
local jobs, wake, delayed = KEYS[1], KEYS[5], KEYS[6]
local waiting = {h = KEYS[2], n = KEYS[3], l = KEYS[4]}

-- a key of a wrong type must raise before anything is written
redis.call('LLEN', KEYS[2])
redis.call('LLEN', KEYS[3])
redis.call('LLEN', KEYS[4])
redis.call('ZCARD', delayed)

local delay = tonumber(ARGV[1])
local pushed = {h = {}, n = {}, l = {}}
local fields, new, seen = {}, {}, {}
for i = 2, #ARGV, 2 do
  local id, envelope = ARGV[i], ARGV[i + 1]
  if not seen[id] and redis.call('HEXISTS', jobs, id) == 0 then
    seen[id] = true
    new[#new + 1] = id
    fields[#fields + 1] = id
    fields[#fields + 1] = envelope
    local list = pushed[string.sub(envelope, 2, 2)]
    list[#list + 1] = id
  end
end
if #new == 0 then
  return 0
end

redis.call('HSET', jobs, unpack(fields))
if delay > 0 then
  local time = redis.call('TIME')
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + delay
  local earliest = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  local scored = {}
  for i, id in ipairs(new) do
    scored[2 * i - 1] = due
    scored[2 * i] = id
  end
  redis.call('ZADD', delayed, unpack(scored))
  if earliest[2] and tonumber(earliest[2]) <= due then
    return #new -- whoever is parked wakes for the earlier one by himself
  end
else
  for priority, ids in pairs(pushed) do
    if #ids > 0 then
      redis.call('RPUSH', waiting[priority], unpack(ids))
    end
  end
end
if redis.call('EXISTS', wake) == 0 then
  redis.call('RPUSH', wake, '1')
end
return #new
