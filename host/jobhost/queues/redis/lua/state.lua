-- keys: 5
-- Changes of state in one step, all or none, checked against the lease of the run that asks; queues/state_ops.py says the same.
-- KEYS: the scope's values, the scopes there are, lock, job, active. A lease is asked for if ARGV[1] is not empty.
-- ARGV: token, `ats` at the claim, now (ms), scope, the most keys, the changes (MessagePack: {verb, key, value, ttl in ms, by, expected}
-- each, false for what is not given), then for a job's own state the field that keeps the job's key, the seconds for which it stays,
-- and the job's id.
-- A value is kept as "UNTIL|JSON", UNTIL being empty or the ms at which it ends.
if ARGV[1] ~= '' then
  local held = redis.call('GET', KEYS[3])
  if held then
    if held ~= ARGV[1] then return {'lost'} end
  elseif redis.call('HGET', KEYS[4], 'ats') ~= ARGV[2] or not redis.call('LPOS', KEYS[5], ARGV[9]) then
    return {'lost'}
  end
end
local now, most = tonumber(ARGV[3]), tonumber(ARGV[5])
local there, order, new, results = {}, {}, 0, {'ok'}

local known = {}

-- The value of a key and when it ends ('' for never), or false.
local function read(key)
  if there[key] then return there[key][1], there[key][2] end
  local stored = redis.call('HGET', KEYS[1], key)
  known[key] = stored and true or false
  if not stored then return false, '' end
  local bar = string.find(stored, '|', 1, true)
  local till = string.sub(stored, 1, bar - 1)
  if till ~= '' and tonumber(till) <= now then return false, '' end
  return string.sub(stored, bar + 1), till
end

local function put(key, value, till)
  if not there[key] then
    order[#order + 1] = key
    if value and not known[key] then new = new + 1 end
  end
  there[key] = {value, till}
end

for _, op in ipairs(cmsgpack.unpack(ARGV[6])) do
  local verb, key = op[1], op[2]
  local value, till = read(key)
  local ends = op[4] and string.format('%.0f', now + op[4]) or ''
  local result = false
  if verb == 'set' then
    put(key, op[3], ends)
  elseif verb == 'delete' then
    result = value and 1 or 0
    put(key, false, '')
  elseif verb == 'cas' then
    result = value == op[6] and 1 or 0
    if result == 1 then put(key, op[3], ends) end
  else
    local digits = not value and '0' or string.match(value, '^%s*%-?(%d+)%s*$')
    if not digits or #digits > 16 or (#digits > 1 and string.sub(digits, 1, 1) == '0') then return {'type'} end
    local sum = tonumber(value or '0') + op[5]
    if math.abs(sum) > 9007199254740991 then return {'large'} end
    result = string.format('%.0f', sum)
    put(key, result, till)
  end
  results[#results + 1] = result
end
if new > 0 and redis.call('HLEN', KEYS[1]) + new > most then return {'full'} end

local kept = false
for _, key in ipairs(order) do
  local value, till = there[key][1], there[key][2]
  if value then
    redis.call('HSET', KEYS[1], key, till .. '|' .. value)
    kept = true
  else
    redis.call('HDEL', KEYS[1], key)
  end
end
if kept and new > 0 then
  redis.call('SADD', KEYS[2], ARGV[4])
  if ARGV[1] ~= '' and string.sub(ARGV[4], 1, 4) == 'job:' then
    redis.call('HSET', KEYS[1], ARGV[7], KEYS[4])
    redis.call('EXPIRE', KEYS[1], ARGV[8])
  end
elseif not kept then
  local left = redis.call('HLEN', KEYS[1])
  if left == 1 and redis.call('HEXISTS', KEYS[1], ARGV[7]) == 1 then redis.call('DEL', KEYS[1]) left = 0 end
  if left == 0 then redis.call('SREM', KEYS[2], ARGV[4]) end
end
return results
