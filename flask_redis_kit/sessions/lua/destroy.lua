-- End a session, and leave a tombstone for a while.
--
-- The tombstone holds why it ended; no session can be created under it. Sent again after a lost
-- reply it finds its own tombstone and reports the same as the first time.
--
-- KEYS     1 session (hash)
-- ARGV     1 grace (s): how long the tombstone stays; 0: none
--          2 tombstone: the reason (r rotated, d destroyed, k revoked) and, after it, what tells
--            this ending from another one
-- RETURNS  1 there was a session; 0 there was none

if redis.call('HGET', KEYS[1], '\0x') == ARGV[2] then
  return 1
end
local had = redis.call('HEXISTS', KEYS[1], '\0c')
redis.call('UNLINK', KEYS[1])
if tonumber(ARGV[1]) > 0 then
  redis.call('HSET', KEYS[1], '\0x', ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return had
