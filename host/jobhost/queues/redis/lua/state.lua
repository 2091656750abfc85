-- keys: 5
-- One write of state, checked against the lease of the run that asks.
-- KEYS: the scope's values, the scopes there are, lock, job, active. A lease is asked for if ARGV[1] is not empty.
-- ARGV: token, `ats` at the claim, now (ms), scope, verb, key, value or number, time to live in ms or '', then for a job's own
-- state the field that keeps the job's key, the seconds for which it stays, and the job's id.
-- A value is kept as "UNTIL|JSON", UNTIL being empty or the ms at which it ends.
if ARGV[1] ~= '' then
  local held = redis.call('GET', KEYS[3])
  if held then
    if held ~= ARGV[1] then return {'lost'} end
  elseif redis.call('HGET', KEYS[4], 'ats') ~= ARGV[2] or not redis.call('LPOS', KEYS[5], ARGV[11]) then
    return {'lost'}
  end
end
local now = tonumber(ARGV[3])
local key = ARGV[6]
local function read()
  local stored = redis.call('HGET', KEYS[1], key)
  if not stored then return nil, '' end
  local bar = string.find(stored, '|', 1, true)
  local till = string.sub(stored, 1, bar - 1)
  if till ~= '' and tonumber(till) <= now then return nil, '' end
  return string.sub(stored, bar + 1), till
end
local function gone()
  local left = redis.call('HLEN', KEYS[1])
  if left == 1 and redis.call('HEXISTS', KEYS[1], ARGV[9]) == 1 then redis.call('DEL', KEYS[1]) left = 0 end
  if left == 0 then redis.call('SREM', KEYS[2], ARGV[4]) end
end
if ARGV[5] == 'delete' then
  local there = read() ~= nil
  redis.call('HDEL', KEYS[1], key)
  gone()
  return {'ok', there and 1 or 0}
end
local till = ''
local value = ARGV[7]
if ARGV[5] == 'set' then
  if ARGV[8] ~= '' then till = string.format('%.0f', now + tonumber(ARGV[8])) end
else
  local stored
  stored, till = read()
  local digits = stored == nil and '0' or string.match(stored, '^%s*%-?(%d+)%s*$')
  if not digits or #digits > 16 or (#digits > 1 and string.sub(digits, 1, 1) == '0') then return {'type'} end
  local sum = tonumber(stored or '0') + tonumber(value)
  if math.abs(sum) > 9007199254740991 then return {'large'} end
  value = string.format('%.0f', sum)
end
redis.call('HSET', KEYS[1], key, till .. '|' .. value)
redis.call('SADD', KEYS[2], ARGV[4])
if ARGV[1] ~= '' and string.sub(ARGV[4], 1, 4) == 'job:' then
  redis.call('HSET', KEYS[1], ARGV[9], KEYS[4])
  redis.call('EXPIRE', KEYS[1], ARGV[10])
end
return {'ok', value}
