-- keys: 2
-- Keeps where the keys of handlers' jobs are. KEYS: the hash of them, the count of its changes. ARGV: names and paths as JSON, or '' for none.
local changed = false
for index = 1, #ARGV, 2 do
  local before = redis.call('HGET', KEYS[1], ARGV[index]) or ''
  if before ~= ARGV[index + 1] then
    changed = true
    if ARGV[index + 1] == '' then
      redis.call('HDEL', KEYS[1], ARGV[index])
    else
      redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
    end
  end
end
if changed then redis.call('INCR', KEYS[2]) end
return 1
