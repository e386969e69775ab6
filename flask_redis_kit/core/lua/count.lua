-- purpose: add what a process has counted to the counts of all, once however often it is sent
-- KEYS[1]  the counts of one day (hash)
-- ARGV[1]  how long they are kept, in seconds
-- ARGV[2]  the process, as a field of the hash
-- ARGV[3]  the number of this report: each process counts its own up, from 1
-- ARGV[4…] field, amount, field, amount …
-- Reports of one process may overtake each other. So its field holds the highest number that came
-- and a bit for each of the 32 up to it: did it come? (The window of RFC 4303, section 3.4.3.)
-- RETURNS  1; 0 if this report was added before, or is more than 31 behind the latest
local WINDOW = 32
local key, process, number = KEYS[1], ARGV[2], tonumber(ARGV[3])
local highest, came = string.match(redis.call('HGET', key, process) or '', '^(%d+):(%-?%d+)$')
highest, came = tonumber(highest or 0), tonumber(came or 0)
local behind = highest - number
if behind >= WINDOW then
  return 0
end
if behind >= 0 then
  local own = bit.lshift(1, behind)
  if bit.band(came, own) ~= 0 then
    return 0
  end
  came = bit.bor(came, own)
else
  came = -behind < WINDOW and bit.bor(bit.lshift(came, -behind), 1) or 1
  highest = number
end
redis.call('HSET', key, process, string.format('%d:%d', highest, came))
for n = 4, #ARGV, 2 do
  redis.call('HINCRBY', key, ARGV[n], ARGV[n + 1])
end
redis.call('EXPIRE', key, ARGV[1])
return 1
