-- keys: 4
-- Takes the lock of a claim again that has run out, if nobody else has taken the job meanwhile.
-- KEYS: lock, job, active, stalled. ARGV: id, token, lock duration in ms, the job's `ats` (attempts started) at the claim.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[2] then return 0 end
if not held then
  if redis.call('HGET', KEYS[2], 'ats') ~= ARGV[4] then return 0 end
  if not redis.call('LPOS', KEYS[3], ARGV[1]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SREM', KEYS[4], ARGV[1])
return 1
