-- purpose: end a lease without storing anything
-- KEYS[1]  L, the lease (string)
-- ARGV[1]  its token
-- ARGV[2]  ms for which nobody else shall have it yet, as the computation failed; 0: end it now
-- RETURNS  1 if it was held, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
