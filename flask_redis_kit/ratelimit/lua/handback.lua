-- Hand units back, or end leases: exactly those of one admission.
--
-- In logs and leases they are found by their name, so running it again changes nothing. Buckets keep
-- no names: the units leave the bucket that they were counted in, so there it must run only once.
-- Buckets that are not those of the admission (after a reset, or made of a log) are left alone.
--
-- KEYS     one per limit
-- ARGV     token: the name of the admission; then per limit
--          kind ('s', 'a', 'c', see acquire.lua), window (us), cost (units)
--          ends: when its units would have freed (us of the server's clock)
--          born: as acquire.lua told
-- RETURNS  integers: the units handed back, per limit

local BATCH = 1000
local BUCKETS = 64
local SLOTS = 128

local token = ARGV[1]

local function from_members(key, cost)
  local removed, unit = 0, 0
  while unit < cost do
    local members = {}
    for _ = 1, math.min(cost - unit, BATCH) do
      unit = unit + 1
      members[#members + 1] = unit == 1 and token or token .. '/' .. unit
    end
    removed = removed + redis.call('ZREM', key, unpack(members))
  end
  return removed
end

local function from_bucket(key, window, cost, ends, mark)
  local head, born = unpack(redis.call('HMGET', key, 'head', 'born'))
  local bucket = math.floor((ends - window) / math.ceil(window / BUCKETS))
  if born ~= mark or tonumber(head) - bucket >= SLOTS then
    return 0
  end
  local slot = string.format('%.0f', bucket % SLOTS)
  local units = tonumber(redis.call('HGET', key, slot) or 0)
  local removed = math.min(units, cost)
  if removed > 0 then
    redis.call('HINCRBY', key, slot, -removed)
  end
  return removed
end

local reply = {}
for i, key in ipairs(KEYS) do
  local kind, window, cost, ends, born = unpack(ARGV, 5 * i - 3, 5 * i + 1)
  cost = tonumber(cost)
  if kind == 'a' and redis.call('TYPE', key).ok == 'hash' then
    reply[i] = from_bucket(key, tonumber(window), cost, tonumber(ends), born)
  else
    reply[i] = from_members(key, cost)
  end
end
return reply
