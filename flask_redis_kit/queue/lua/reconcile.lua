-- After a lost reply: the jobs in a worker's own list that it doesn't know of.
-- KEYS  1 jobs HASH, 2 a:<worker> LIST, 3 crash HASH
-- ARGV  the ids it knows of
-- RETURNS  {the known ids that are in the list,
--       of each unknown job in it: id, envelope, times its worker died}
local known = {}
for _, id in ipairs(ARGV) do
  known[id] = true
end
local found, unknown = {}, {}
for _, id in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if known[id] then
    found[#found + 1] = id
  else
    local envelope = redis.call('HGET', KEYS[1], id)
    if envelope then
      unknown[#unknown + 1] = id
      unknown[#unknown + 1] = envelope
      unknown[#unknown + 1] = redis.call('HGET', KEYS[3], id) or '0'
    else
      redis.call('LREM', KEYS[2], 1, id) -- finished or cancelled meanwhile
    end
  end
end
return {found, unknown}
