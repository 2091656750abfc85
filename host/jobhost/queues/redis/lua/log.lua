-- keys: 4
-- Lines of a job, in BullMQ's form and whole. KEYS: job, BullMQ's logs, our lines, how many there ever were.
-- ARGV: how many to keep, seconds to keep ours after the last, then pairs of BullMQ's form and ours.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 3, #ARGV, 2 do
  redis.call('RPUSH', KEYS[2], ARGV[i])
  redis.call('RPUSH', KEYS[3], redis.call('INCR', KEYS[4]) .. '|' .. ARGV[i + 1])
end
redis.call('LTRIM', KEYS[2], -ARGV[1], -1)
redis.call('LTRIM', KEYS[3], -ARGV[1], -1)
redis.call('EXPIRE', KEYS[3], ARGV[2])
redis.call('EXPIRE', KEYS[4], ARGV[2])
return 1
