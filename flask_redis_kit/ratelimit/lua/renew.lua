-- Make a lease last longer: it ends a whole lease from now. Running it again changes nothing else.
--
-- KEYS     the leases (zset, see acquire.lua)
-- ARGV     token: the name of the admission; lease (us)
-- RETURNS  1; 0: the lease had ended, and others may have taken its place

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= clock then
  return 0
end
local lease = tonumber(ARGV[2])
local renewed = math.max(tonumber(ends), clock + lease)
redis.call('ZADD', KEYS[1], string.format('%.0f', renewed), ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000), 'GT')
return 1
