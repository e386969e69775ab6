-- Take the lock of a session for a while.
--
-- Sent again after a lost reply it finds its own token and reports success.
--
-- KEYS     1 lock of a session (string)
-- ARGV     1 token, 2 time to live (ms)
-- RETURNS  0 taken; else (ms) how long it stays another's at most

local holder = redis.call('GET', KEYS[1])
if not holder or holder == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 0
end
return redis.call('PTTL', KEYS[1])
