-- keys: 2
-- Takes a job out of the index of a queue that keyed.lua claims from. KEYS: the two hashes of it. ARGV: id, prefix of the index.
local line = redis.call('HGET', KEYS[1], ARGV[1]) or redis.call('HGET', KEYS[2], ARGV[1])
if not line then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', ARGV[2] .. 'line:' .. line, ARGV[1])
return 1
