-- purpose: tell whether there is a value, without sending it
-- KEYS[1]  V, the value (string)
-- KEYS[2]  T, the shard's log (zset)
-- ARGV     none
-- RETURNS  1 if get() would find it, else 0
if found(KEYS[1], KEYS[2]) then
  return 1
end
return 0
