-- keys: 1
-- A value of state, or nothing if its job is gone. KEYS: the scope's values. ARGV: the field of the job's key, the key.
local job = redis.call('HGET', KEYS[1], ARGV[1])
if job and redis.call('EXISTS', job) == 0 then return false end
return redis.call('HGET', KEYS[1], ARGV[2])
