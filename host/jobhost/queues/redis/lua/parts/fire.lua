-- Adds the jobs that are due of a schedule and lets it go on, in one step. Other parts define `add_plain` and `add_prioritized`.
-- KEYS: the schedules, when they come due. ARGV: id, the schedule as it was, as it shall be ('' if it goes), when it comes due then ('' for
-- never), then of each job 'p' if it is prioritized or '', how many keys it takes, those, and the five arguments of its script.
local rcall = redis.call
if rcall('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  rcall('HDEL', KEYS[1], ARGV[1])
else
  rcall('HSET', KEYS[1], ARGV[1], ARGV[3])
end
if ARGV[4] == '' then
  rcall('ZREM', KEYS[2], ARGV[1])
else
  rcall('ZADD', KEYS[2], ARGV[4], ARGV[1])
end
local at = 5
while ARGV[at] do
  local count = tonumber(ARGV[at + 1])
  local keys = part(ARGV, at + 2, at + 1 + count)
  local args = part(ARGV, at + 2 + count, at + 6 + count)
  if ARGV[at] == 'p' then add_prioritized(keys, args) else add_plain(keys, args) end
  at = at + 7 + count
end
return 1
