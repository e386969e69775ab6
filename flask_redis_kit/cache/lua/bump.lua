-- purpose: invalidate tags: write down at which moment of the log's clock it happened
-- KEYS[1]  T, the shard's log (zset)
-- ARGV[1]  minus the nonce for a new log, should there be none
-- ARGV[2]  how many tags the log may hold
-- ARGV[3]  "hard"; "soft": what hangs on them may be served in its grace period
-- ARGV[4…] the tags, as members of the log
-- RETURNS  the log's new seq, as a string
local log = KEYS[1]
local softly = ARGV[3] == 'soft'
if not redis.call('ZSCORE', log, '!n') then
  redis.call('ZADD', log, 'NX', ARGV[1], '!n', 0, '!s', 0, '!f')
end
local seq = redis.call('ZINCRBY', log, 1, '!s')
for n = 4, #ARGV do
  redis.call('ZADD', log, seq, softly and '~' .. ARGV[n] or ARGV[n])
end
if softly then
  redis.call('ZADD', log, '-' .. seq, '!~')
end

-- Forget the tags that were invalidated longest ago; values older than what is forgotten are
-- misses from now on. Each call removes more than it added, but never many at once.
local own = redis.call('ZSCORE', log, '!~') and 4 or 3
local excess = redis.call('ZCARD', log) - own - tonumber(ARGV[2])
excess = math.min(excess, 16 + #ARGV - 3)
if excess > 0 then
  -- one more than needed: among equals !s may come first, and it stays
  local oldest = redis.call('ZRANGEBYSCORE', log, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, excess + 1)
  local floor = -tonumber(redis.call('ZSCORE', log, '!f'))
  for n = 1, #oldest, 2 do
    if excess > 0 and oldest[n] ~= '!s' then
      redis.call('ZREM', log, oldest[n])
      floor = math.max(floor, tonumber(oldest[n + 1]))
      excess = excess - 1
    end
  end
  redis.call('ZADD', log, -floor, '!f')
end
return seq
