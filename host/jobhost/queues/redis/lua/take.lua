-- keys: 5
-- Takes one job that waits, whichever it is, to end it: a cancel, or a job that stalled too often.
-- KEYS: wait, prioritized, delayed, active, lock. ARGV: id, token, lock duration in ms.
-- Gives where it waited, or nothing.
local where
if redis.call('LREM', KEYS[1], 1, ARGV[1]) > 0 then where = 'waiting'
elseif redis.call('ZREM', KEYS[2], ARGV[1]) > 0 then where = 'prioritized'
elseif redis.call('ZREM', KEYS[3], ARGV[1]) > 0 then where = 'delayed'
else return false end
redis.call('LPUSH', KEYS[4], ARGV[1])
redis.call('SET', KEYS[5], ARGV[2], 'PX', ARGV[3])
return where
