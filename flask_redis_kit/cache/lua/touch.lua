-- purpose: let a value live longer, or shorter, from now on; never one that get() would not find
-- KEYS[1]  V, the value (string)
-- KEYS[2]  T, the shard's log (zset)
-- ARGV[1]  how long it is to be fresh from now, in ms; its grace period stays as long as it was
-- RETURNS  1; 0 if there is no such value
local value, fresh = KEYS[1], tonumber(ARGV[1])
local header = found(value, KEYS[2])
if not header then
  return 0
end
make_last(value, header, fresh, header.grace)
redis.call('PEXPIRE', value, fresh + header.grace)
return 1
