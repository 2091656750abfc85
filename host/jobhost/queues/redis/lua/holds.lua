-- keys: 3
-- Whether a claim still has its job: its lock is there, or has run out and nobody has taken the job since.
-- KEYS: lock, job, active. ARGV: id, token, `ats` at the claim, then fields of the job and values to write if it has.
local held = redis.call('GET', KEYS[1])
if held then
  if held ~= ARGV[2] then return 0 end
elseif redis.call('HGET', KEYS[2], 'ats') ~= ARGV[3] or not redis.call('LPOS', KEYS[3], ARGV[1]) then
  return 0
end
for index = 4, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1]) end
return 1
