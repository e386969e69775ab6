-- Read what a channel holds after a position, and its last id, as of one moment. Writes nothing.
-- KEYS     1 history (stream: p = id before, d = body), 2 meta (hash: l = last id)
-- ARGV     1 position (an id; empty: only the last id is wanted), 2 most events to read
-- RETURNS  {last id, entries as XRANGE gives them}
local last = redis.call('HGET', KEYS[2], 'l')
local ms, seq = string.match(last or '', '^(%d+)%-(%d+)$')
if not ms or #ms > 15 or #seq > 15 then
  -- meta expired, was evicted or is damaged: the history still knows
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  last = newest and newest[1] or '0-0'
end
if ARGV[1] == '' then
  return {last, {}}
end
return {last, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}
