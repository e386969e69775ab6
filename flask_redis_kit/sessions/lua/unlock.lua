-- Release a lock that is still one's own.
--
-- KEYS     1 lock of a session (string)
-- ARGV     1 token that it was taken with
-- RETURNS  1 released; 0 it is over, or another's

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
