-- Write fields of a session that is still the one which was loaded, and prolong it: what save.lua
-- does where no field is deleted and nothing else is asked, in fewer steps.
--
-- A logout, a rotation, a revocation or the expiry in between has taken the incarnation away: then
-- nothing is written. Sent again after a lost reply it changes nothing more.
--
-- KEYS     1 session (hash)
-- ARGV     1 incarnation that was loaded; empty: whichever it is, 2 time to live (s), unless the
--          field '\0a' says less, then pairs of field and value, '\0a' not among them
-- RETURNS  1 saved; 0 it was gone, or is another incarnation

local stored = redis.call('HMGET', KEYS[1], '\0c', '\0a')
if not stored[1] or (ARGV[1] ~= '' and stored[1] ~= ARGV[1]) then
  return 0
end
if ARGV[3] then
  redis.call('HSET', KEYS[1], unpack(ARGV, 3))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
if stored[2] then
  redis.call('EXPIREAT', KEYS[1], stored[2], 'LT')
end
return 1
