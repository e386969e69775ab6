-- Count a request under all its limits, or under none: exact sliding windows.
--
-- A log holds one member for each unit that was admitted; its score is the server's time then, in
-- microseconds. At the time `now` a unit counts if its score is greater than now - window, so every
-- interval as long as the window holds at most `limit` units. Time never runs backwards for a log:
-- while the clock is behind its newest unit, that unit's time counts; a log that lies more than a
-- window in the future counts as empty. Only an admission writes.
--
-- KEYS     one log (zset) per limit, each key once
-- ARGV     per limit: limit (units), window (us), cost (units; 0: look at one unit, count nothing)
-- RETURNS  integers: 1 if admitted, else 0; then per limit
--          remaining (units)
--          reset (us until the next unit frees; 0: none is in use)
--          full (us until all units are free)
--          retry (us until the cost fits into this limit; 0: it fits now; -1: never)

local BATCH = 1000 -- units per ZADD: Lua's stack bounds the arguments of a call

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function score_at(key, rank)
  return tonumber(redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')[2])
end

-- What counts in a log at this moment.
local function read(key, window)
  local log = {now = clock, member = clock, used = 0, expired = 0, stale = false}
  local size = redis.call('ZCARD', key)
  if size == 0 then
    return log
  end
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  local newest = tonumber(last[2])
  if newest > clock + window then
    log.stale = true
    return log
  end
  log.now = math.max(clock, newest)
  log.member = log.now
  local member = tonumber(last[1])
  if member and member >= newest and member < newest + 1e9 then
    log.member = math.max(log.now, member + 1)
  end
  log.used = size
  log.oldest = score_at(key, 0)
  if log.oldest <= log.now - window then
    log.used = redis.call('ZCOUNT', key, string.format('(%.0f', log.now - window), '+inf')
    log.expired = size - log.used
    log.oldest = log.used > 0 and score_at(key, log.expired) or nil
  end
  log.newest = log.used > 0 and newest or nil
  return log
end

-- How long until `cost` units fit.
local function retry(key, log, limit, window, cost)
  local over = log.used + cost - limit
  if over <= 0 then
    return 0
  end
  if over > log.used then
    return -1
  end
  local freeing = over == 1 and log.oldest or score_at(key, log.expired + over - 1)
  return math.ceil(freeing + window - clock)
end

local function write(key, log, window, cost)
  if log.stale then
    redis.call('DEL', key)
  elseif log.expired > 0 then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', log.now - window))
  end
  local score = string.format('%.0f', log.now)
  local left = cost
  while left > 0 do
    local units = {}
    for _ = 1, math.min(left, BATCH) do
      units[#units + 1] = score
      units[#units + 1] = string.format('%.0f', log.member)
      log.member = log.member + 1
    end
    left = left - redis.call('ZADD', key, 'NX', unpack(units))
  end
  redis.call('PEXPIRE', key, math.ceil(window / 1000))
  log.used = log.used + cost
  log.oldest = log.oldest or log.now
  log.newest = log.now
end

local logs = {}
local admitted = 1
for i, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[3 * i - 2])
  local window = tonumber(ARGV[3 * i - 1])
  local cost = tonumber(ARGV[3 * i])
  local log = read(key, window)
  log.retry = retry(key, log, limit, window, math.max(cost, 1))
  if cost > 0 and log.retry ~= 0 then
    admitted = 0
  end
  logs[i] = log
end

local reply = {admitted}
for i, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[3 * i - 2])
  local window = tonumber(ARGV[3 * i - 1])
  local cost = tonumber(ARGV[3 * i])
  local log = logs[i]
  if admitted == 1 and cost > 0 then
    write(key, log, window, cost)
  end
  reply[#reply + 1] = math.max(0, limit - log.used)
  reply[#reply + 1] = log.oldest and math.ceil(log.oldest + window - clock) or 0
  reply[#reply + 1] = log.newest and math.ceil(log.newest + window - clock) or 0
  reply[#reply + 1] = log.retry
end
return reply
