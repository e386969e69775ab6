-- End a session, and leave a tombstone for a while.
--
-- The tombstone holds why it ended; no session can be created under it. Sent again after a lost
-- reply it finds its own tombstone and reports the same as the first time.
--
-- KEYS     1 session (hash)
-- ARGV     1 grace (s): how long the tombstone stays
--          2 tombstone: the reason (r rotated, d destroyed, k revoked) and, after it, what tells
--            this ending from another one
--          3 whose session it must be, as its field '\0u' names him behind the first colon: the
--            length of his name, a colon, his name; empty: anybody's
--          4 1: fail, and leave it, on a server that is full, as the session that takes its place
--            could not be stored either; 0: end it there, too
--          5 grace (s) of one that was Flask-Session's: it may be stored there still
--          6 incarnation it must be; empty: whichever it is
-- RETURNS  1 there was a session; 0 there was none, or it is another user's or another incarnation

local stored = redis.call('HMGET', KEYS[1], '\0x', '\0c', '\0m', '\0u')
if stored[1] == ARGV[2] then
  return 1
end
if ARGV[3] ~= '' then
  local name = string.find(stored[4] or '', ':', 1, true)
  if not name or string.sub(stored[4], name + 1, name + #ARGV[3]) ~= ARGV[3] then
    return 0
  end
end
if ARGV[6] ~= '' and stored[2] ~= ARGV[6] then
  return 0
end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], '\0x', ARGV[2]) -- a full server refuses it as the first write only
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '\0x', ARGV[2])
if stored[3] then
  redis.call('HSET', KEYS[1], '\0m', '') -- ending it once more must not shorten that
end
redis.call('EXPIRE', KEYS[1], stored[3] and ARGV[5] or ARGV[1])
return stored[2] and 1 or 0
