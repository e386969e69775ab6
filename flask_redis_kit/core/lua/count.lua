-- purpose: add what a process has counted to the counts of all, once however often it is sent
-- KEYS[1]  the counts of one day (hash)
-- ARGV[1]  how long they are kept, in seconds
-- ARGV[2]  the process, as a field of the hash
-- ARGV[3]  the number of this report: each process counts its own up
-- ARGV[4…] field, amount, field, amount …
-- RETURNS  1; 0 if this report was added before
local key = KEYS[1]
local last = redis.call('HGET', key, ARGV[2])
if last and tonumber(last) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', key, ARGV[2], ARGV[3])
for n = 4, #ARGV, 2 do
  redis.call('HINCRBY', key, ARGV[n], ARGV[n + 1])
end
redis.call('EXPIRE', key, ARGV[1])
return 1
