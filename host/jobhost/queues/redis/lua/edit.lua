-- keys: 3
-- Replaces the data of a job that waits or is delayed. KEYS: job, lock, active. ARGV: id, data.
-- Gives 1, or 0 if there is none in such a state.
local finished = redis.call('HMGET', KEYS[1], 'name', 'finishedOn')
if not finished[1] or finished[2] then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('LPOS', KEYS[3], ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'data', ARGV[2])
return 1
