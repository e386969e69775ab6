-- purpose: end a lease without storing anything
-- KEYS[1]  L, the lease (string)
-- ARGV[1]  its token
-- RETURNS  1 if it was held, else 0
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
