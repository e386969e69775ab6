-- Publish one event: add it to its channel's history and send it to whoever listens now.
-- Every entry and message names the id before it, so that a reader sees every gap.
-- KEYS     1 history (stream: p = id before, d = body), 2 meta (hash: l = last id)
-- ARGV     1 pub/sub channel, 2 body, 3 history length (events, about), 4 history TTL (ms),
--          5 meta TTL (ms)
-- RETURNS  {id, receivers}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Ids follow the clock, but never fall behind the last one. Not '*': that would start anew at an
-- older time when the history has expired and the clock was set back.
local function next_id(last)
  local ms, seq = string.match(last, '^(%d+)-(%d+)$')
  if now > tonumber(ms) then
    return string.format('%.0f-0', now)
  end
  return string.format('%s-%.0f', ms, seq + 1)
end

local function add(id, prev)
  return redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], id, 'p', prev, 'd', ARGV[2])
end

local prev = redis.call('HGET', KEYS[2], 'l')
local ms, seq = string.match(prev or '', '^(%d+)%-(%d+)$')
if not ms or #ms > 15 or #seq > 15 then -- longer ones are nobody's, and no number here holds them
  -- meta expired, was evicted or is damaged: the history still knows
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  prev = newest and newest[1] or '0-0'
end

local id = next_id(prev)
local added = add(id, prev)
if type(added) == 'table' and string.find(added.err, 'equal or smaller', 1, true) then
  -- the history is ahead of meta: somebody else wrote to it
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for n = 1, #info, 2 do
    if info[n] == 'last-generated-id' then
      id = next_id(info[n + 1])
    end
  end
  added = add(id, prev)
end
if type(added) == 'table' then
  return added
end

redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('HSET', KEYS[2], 'l', id)
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {id, redis.call('PUBLISH', ARGV[1], id .. ' ' .. prev .. ' ' .. ARGV[2])}
