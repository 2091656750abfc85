-- keys: 1
-- Changes a job that is there still. KEYS: job. ARGV: fields and values.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for index = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1]) end
return 1
