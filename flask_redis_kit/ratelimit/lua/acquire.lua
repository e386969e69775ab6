-- Count a request under all its limits, or under none: exact sliding windows, leases, shadows.
--
-- log (zset)    one member for each unit admitted; its score is the server's time then, in us. At
--               the time `now` a unit counts if its score is greater than now - window, so every
--               interval as long as the window holds at most `limit` units.
-- buckets       (hash) units by sub-windows of window/64: the field is the bucket's number modulo
--               128; `head` is the number of the newest, `born` when the hash was made. A unit counts
--               until the last moment of its bucket has left the window: never too many, freed up
--               to window/64 late.
-- leases (zset) one member for each holder; its score is when its lease ends.
--
-- Time never runs backwards for a log: while the clock is behind its newest unit, that unit's time
-- counts; what lies more than a window in the future does not count. Only an admission writes.
--
-- KEYS     one per limit, each key once
-- ARGV     token: the name of this admission; '' to look and count nothing; then per limit
--          kind ('s' log; 'a' log up to a limit of 128, buckets above; 'c' leases)
--          limit (units), window or lease (us), cost (units; 0: look at one unit, count nothing)
--          shadow ('1': it refuses nobody, and counts only what fits)
-- RETURNS  integers: 1 if admitted, else 0; the server's time (us); then per limit
--          remaining (units)
--          reset (us until the next unit frees; 0: none is in use)
--          full (us until all units are free)
--          retry (us until the cost fits into this limit; 0: it fits now; -1: never)
--          born (of buckets; else 0: see handback.lua)

-- Most limits are logs. What buckets and leases need besides is made only for them (`other_kinds`):
-- to make a function costs, too, though each `redis.call` more than all else.

local BATCH = 1000 -- units per ZADD: Lua's stack bounds the arguments of a call

local call = redis.call
local time = call('TIME')
local clock = time[1] * 1000000 + time[2]
local token = ARGV[1]

local function whole(number)
  return string.format('%.0f', number)
end

local stamp = whole(clock)

local function score_at(key, rank)
  return tonumber(call('ZRANGE', key, rank, rank, 'WITHSCORES')[2])
end

-- Each reader returns what counts now: `used` units, and when the first and the last of them free
-- (`oldest`, `newest`: us of the server's clock). Of a log `newest` is missing: an admission makes
-- it, and whoever else asks reads it. What is set later is named too, or the table would grow.

local function read_log(key, window)
  local size = call('ZCARD', key)
  if size == 0 then
    return {now = clock, used = 0, expired = 0, oldest = nil, newest = nil, retry = 0, how = nil}
  end
  local now = clock
  if call('ZCOUNT', key, '(' .. stamp, '+inf') > 0 then
    now = score_at(key, -1)
    if now > clock + window then
      return {now = clock, used = 0, expired = 0, stale = true}
    end
  end
  local oldest = score_at(key, 0) + window
  if oldest > now then
    return {now = now, used = size, expired = 0, oldest = oldest, newest = nil, retry = 0, how = nil}
  end
  local left = whole(now - window)
  local used = call('ZCOUNT', key, '(' .. left, '+inf')
  oldest = used > 0 and score_at(key, size - used) + window or nil
  return {
    now = now, used = used, expired = size - used, left = left,
    oldest = oldest, newest = nil, retry = 0, how = nil,
  }
end

-- When `count` of its units have freed.
local function log_frees(key, log, window, count)
  return score_at(key, log.expired + count - 1) + window
end

local function write_log(key, log, window, cost)
  if log.stale then
    call('DEL', key)
  elseif log.left then
    call('ZREMRANGEBYSCORE', key, '-inf', log.left)
  end
  local score = log.now == clock and stamp or whole(log.now)
  local unit, left = 0, cost
  if cost == 1 then
    unit, left = 1, 1 - call('ZADD', key, 'NX', score, token)
  end
  while left > 0 do -- several, or the name is taken
    local units = {}
    for _ = 1, math.min(left, BATCH) do
      unit = unit + 1
      units[#units + 1] = score
      units[#units + 1] = unit == 1 and token or token .. '/' .. unit
    end
    left = left - call('ZADD', key, 'NX', unpack(units))
  end
  call('PEXPIRE', key, math.ceil(window / 1000))
  log.newest = log.now + window
  log.oldest = log.oldest or log.newest
end

local LOG = {read = read_log, write = write_log, frees = log_frees}

local function other_kinds()
  local EXACT = 128 -- the largest limit that 'a' keeps as a log
  local BUCKETS = 64
  local SLOTS = 128

  local function width_of(window)
    return math.ceil(window / BUCKETS)
  end

  -- The last moment of a bucket leaves the window.
  local function bucket_end(bucket, window)
    return (bucket + 1) * width_of(window) - 1 + window
  end

  -- Buckets as {number = units}, of which the empty ones and those that left the window are `gone`.
  local function weigh(log, units, window)
    local live = {}
    log.units, log.gone = units, {}
    for bucket, count in pairs(units) do
      if count > 0 and bucket_end(bucket, window) > log.now then
        live[#live + 1] = bucket
        log.used = log.used + count
      else
        log.gone[#log.gone + 1] = bucket
      end
    end
    if #live > 0 then
      table.sort(live)
      log.oldest = bucket_end(live[1], window)
      log.newest = bucket_end(live[#live], window)
      log.live = live
    end
    return log
  end

  local function bucket_frees(log, window, count)
    for _, bucket in ipairs(log.live) do
      count = count - log.units[bucket]
      if count <= 0 then
        return bucket_end(bucket, window)
      end
    end
  end

  local function read_buckets(key, window)
    local log = {now = clock, used = 0, hash = true}
    local fields = call('HGETALL', key)
    local head
    for i = 1, #fields, 2 do
      if fields[i] == 'head' then
        head = tonumber(fields[i + 1])
      elseif fields[i] == 'born' then
        log.born = tonumber(fields[i + 1])
      end
    end
    local start = head and head * width_of(window) or 0
    if start > clock + window then
      head = nil
    end
    local units = {}
    if head then
      log.now = math.max(clock, start)
      for i = 1, #fields, 2 do
        local slot = tonumber(fields[i])
        if slot then
          units[head - (head - slot) % SLOTS] = tonumber(fields[i + 1])
        end
      end
      weigh(log, units, window)
    end
    if log.used == 0 then -- nothing in it counts, its time neither
      return {now = clock, used = 0, hash = true, stale = true, units = {}}
    end
    return log
  end

  -- A log that has to become buckets, as its limit is above EXACT: a new one, or it was raised.
  local function into_buckets(key, log, window)
    local width = width_of(window)
    local units = {}
    local low = '(' .. whole(log.now - window)
    local members = log.used > 0 and call('ZRANGEBYSCORE', key, low, '+inf', 'WITHSCORES') or {}
    for i = 2, #members, 2 do
      local bucket = math.floor(tonumber(members[i]) / width)
      units[bucket] = (units[bucket] or 0) + 1
    end
    return weigh({now = log.now, used = 0, stale = true}, units, window)
  end

  local function write_buckets(key, log, window, cost)
    if log.stale then
      call('DEL', key)
    elseif #log.gone > 0 then
      local fields = {}
      for i, bucket in ipairs(log.gone) do
        fields[i] = whole(bucket % SLOTS)
      end
      call('HDEL', key, unpack(fields))
    end
    local head = math.floor(log.now / width_of(window))
    local count = (log.units[head] or 0) + cost
    local fields = {'head', whole(head), whole(head % SLOTS), whole(count)}
    if log.stale then
      log.born = clock
      fields[5], fields[6] = 'born', whole(clock)
      for bucket, units in pairs(log.units) do
        if bucket ~= head and bucket_end(bucket, window) > log.now then
          fields[#fields + 1] = whole(bucket % SLOTS)
          fields[#fields + 1] = whole(units)
        end
      end
    end
    call('HSET', key, unpack(fields))
    call('PEXPIRE', key, math.ceil((window + width_of(window)) / 1000))
    log.oldest = log.oldest or bucket_end(head, window)
    log.newest = bucket_end(head, window)
  end

  local function read_either(key, window)
    if call('TYPE', key).ok == 'hash' then
      return read_buckets(key, window)
    end
    return read_log(key, window)
  end

  local function either_frees(key, log, window, count)
    return log.hash and bucket_frees(log, window, count) or log_frees(key, log, window, count)
  end

  local function write_either(key, log, window, cost, limit)
    if log.hash then
      return write_buckets(key, log, window, cost)
    end
    if limit <= EXACT then
      return write_log(key, log, window, cost)
    end
    local buckets = into_buckets(key, log, window)
    write_buckets(key, buckets, window, cost)
    log.oldest, log.newest, log.born = buckets.oldest, buckets.newest, buckets.born
  end

  local function lease_frees(key, _, lease, count)
    local low, high = '(' .. whole(clock), whole(clock + 2 * lease)
    local holder = call('ZRANGEBYSCORE', key, low, high, 'WITHSCORES', 'LIMIT', count - 1, 1)
    return tonumber(holder[2])
  end

  local function read_leases(key, lease)
    local used = call('ZCOUNT', key, '(' .. whole(clock), whole(clock + 2 * lease))
    local log = {used = used}
    if used > 0 then
      log.oldest = lease_frees(key, log, lease, 1)
      log.newest = used == 1 and log.oldest or lease_frees(key, log, lease, used)
    end
    return log
  end

  local function write_leases(key, log, lease)
    local ends = clock + lease
    call('ZREMRANGEBYSCORE', key, '-inf', whole(clock))
    call('ZREMRANGEBYSCORE', key, '(' .. whole(clock + 2 * lease), '+inf')
    call('ZADD', key, whole(ends), token)
    log.oldest = math.min(log.oldest or ends, ends)
    log.newest = math.max(log.newest or ends, ends)
    call('PEXPIRE', key, math.ceil((log.newest - clock) / 1000))
  end

  return {
    a = {read = read_either, write = write_either, frees = either_frees},
    c = {read = read_leases, write = write_leases, frees = lease_frees},
  }
end

local others
local logs = {}
local admitted = 1
for i, key in ipairs(KEYS) do
  local kind, limit, window, cost, shadow = unpack(ARGV, 5 * i - 3, 5 * i + 1)
  if kind ~= 's' then
    others = others or other_kinds()
  end
  window, cost = tonumber(window), tonumber(cost)
  local how = kind == 's' and LOG or others[kind]
  local log = how.read(key, window)
  local over = log.used + (cost > 0 and cost or 1) - limit
  if over <= 0 then
    log.retry = 0
  elseif over > log.used then
    log.retry = -1
  else
    log.retry = (over == 1 and log.oldest or how.frees(key, log, window, over)) - clock
  end
  if over > 0 and cost > 0 and shadow ~= '1' then
    admitted = 0
  end
  log.how = how
  logs[i] = log
end

local reply = {admitted, clock, unpack(ARGV, 2)} -- five numbers for five arguments
for i, log in ipairs(logs) do
  local key, used, at = KEYS[i], log.used, 5 * i - 2
  local limit, window, cost = unpack(ARGV, at, at + 2)
  window, cost = tonumber(window), tonumber(cost)
  if admitted == 1 and token ~= '' and cost > 0 and log.retry == 0 then
    log.how.write(key, log, window, cost, tonumber(limit))
    used = used + cost
  elseif used > 0 and not log.newest then
    log.newest = score_at(key, -1) + window
  end
  local left = limit - used
  reply[at] = left > 0 and left or 0
  reply[at + 1] = log.oldest and log.oldest - clock or 0
  reply[at + 2] = log.newest and log.newest - clock or 0
  reply[at + 3] = log.retry
  reply[at + 4] = log.born or 0
end
return reply
