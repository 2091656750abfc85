-- keys: 8
-- Takes jobs of a queue that is jobhost's alone: handlers and their keys in turn, past those that are at a limit, as queues/fairness.py
-- says it for the other stores. Jobs stay where BullMQ has them while they wait; beside it stands an index of them:
--   jh:k:of, jh:k:ofp   hashes: id -> NAME\0KEY, of those in `wait` and in `prioritized`; NAME and KEY are empty where there is no key
--   jh:k:names          sorted set: names that have waiting jobs;  jh:k:keys:NAME  the keys of one
--   jh:k:line:NAME\0KEY sorted set: ids by priority, then age
--   jh:k:run            hash: id -> NAME\0KEY of jobs that were taken here;  jh:k:turn  hash: name -> the key served last; '' -> a count
--   jh:k:rate:NAME, jh:k:rate:NAME\0KEY  counts of windows
-- What others have taken away, or put at another place, makes the counts differ: then the index is made anew.
-- KEYS: wait, active, prioritized, events, delayed, meta, pc, marker.
-- ARGV: prefix of the queue, prefix of all, now (ms), lock duration (ms), worker's name, what is allowed (MessagePack), a token for each job.
-- Gives {jobs, when to ask again} as claim.lua does.
local rcall = redis.call
local prefix, all, now, duration, host = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local allowed = cmsgpack.unpack(ARGV[6])
local FIRST_TOKEN = 7
local wanted = #ARGV - FIRST_TOKEN + 1
local K = prefix .. 'jh:k:'
local CHUNK, MOST_LOOKS, AGAIN = 5000, 2000, 250
local due
local function wait_until(at)
  if not due or at < due then due = at end
end

local meta = rcall('HMGET', KEYS[6], 'paused', 'concurrency')
if meta[1] then return {cmsgpack.pack({}), 0} end

-- Delayed jobs that are due wait from now on.
local ripe = rcall('ZRANGEBYSCORE', KEYS[5], 0, (now + 1) * 0x1000 - 1, 'LIMIT', 0, 1000)
if #ripe > 0 then
  rcall('ZREM', KEYS[5], unpack(ripe))
  for _, id in ipairs(ripe) do
    local priority = tonumber(rcall('HGET', prefix .. id, 'priority')) or 0
    if priority == 0 then
      rcall('LPUSH', KEYS[1], id)
    else
      rcall('ZADD', KEYS[3], priority * 0x100000000 + rcall('INCR', KEYS[7]) % 0x100000000, id)
    end
    rcall('XADD', KEYS[4], '*', 'event', 'waiting', 'jobId', id, 'prev', 'delayed')
    rcall('HSET', prefix .. id, 'delay', 0)
  end
end

-- The index ----------------------------------------------------------------------------------------------------------

local generation = rcall('GET', all .. ':jh:keys:gen') or '0'
local paths = {}
local flat = rcall('HGETALL', all .. ':jh:keys')
for index = 1, #flat, 2 do paths[flat[index]] = cjson.decode(flat[index + 1]) end

local function forget_index()
  for _, name in ipairs(rcall('ZRANGE', K .. 'names', 0, -1)) do
    for _, key in ipairs(rcall('ZRANGE', K .. 'keys:' .. name, 0, -1)) do
      rcall('DEL', K .. 'line:' .. name .. '\0' .. key)
    end
    rcall('DEL', K .. 'keys:' .. name)
  end
  rcall('DEL', K .. 'names', K .. 'of', K .. 'ofp', K .. 'cursor')
  rcall('SET', K .. 'gen', generation)
end

if (rcall('GET', K .. 'gen') or '0') ~= generation or rcall('HLEN', K .. 'of') > rcall('LLEN', KEYS[1])
  or rcall('HLEN', K .. 'ofp') > rcall('ZCARD', KEYS[3]) then
  forget_index()
end

local function member(value, path, from)
  for index = from, #path do
    if type(value) ~= 'table' then return nil end
    value = value[path[index]]
  end
  return value
end

-- The key of a job, as queues/limits.py has it.
local function key_of(name, data, jh)
  local parts = {}
  for _, path in ipairs(paths[name]) do
    local text, from = data, 2
    if path[1] == 'metadata' then text = jh end
    local ok, loaded = pcall(cjson.decode, text or '')
    local value
    if ok then
      if path[1] == 'metadata' then loaded = type(loaded) == 'table' and loaded.metadata end
      value = member(loaded, path, from)
    end
    if type(value) == 'number' then value = string.format('%.17g', value)
    elseif type(value) == 'boolean' then value = tostring(value)
    elseif type(value) ~= 'string' then value = '' end
    parts[#parts + 1] = value
  end
  return string.sub(table.concat(parts, '\31'), 1, 1024)
end

-- Puts a job into the index. `rank`: its place among those of its priority.
local function put(hash, id, rank)
  local facts = rcall('HMGET', prefix .. id, 'name', 'data', 'jh', 'priority')
  local name, key = '', ''
  if facts[1] and paths[facts[1]] then
    name = facts[1]
    key = key_of(name, facts[2], facts[3])
  end
  local line = name .. '\0' .. key
  if rcall('EXISTS', K .. 'line:' .. line) == 0 then
    rcall('ZADD', K .. 'keys:' .. name, 0, key)
    rcall('ZADD', K .. 'names', 0, name)
  end
  rcall('ZADD', K .. 'line:' .. line, (tonumber(facts[4]) or 0) * 0x200000000 + rank, id)
  rcall('HSET', K .. hash, id, line)
end

local function index_waiting()
  local known = rcall('HLEN', K .. 'of')
  if known > 0 then
    -- In front, where lifo jobs and those that were handed back are.
    local front = {}
    while #front < CHUNK do
      local id = rcall('LINDEX', KEYS[1], -1 - #front)
      if not id or rcall('HEXISTS', K .. 'of', id) == 1 then break end
      front[#front + 1] = id
    end
    for index = #front, 1, -1 do put('of', front[index], -rcall('INCR', K .. 'low')) end
    known = known + #front
  end
  -- Behind: those that are not known are the youngest.
  local more = rcall('LLEN', KEYS[1]) - known
  if more > 0 then
    local some = rcall('LRANGE', KEYS[1], -known - math.min(more, CHUNK), -known - 1)
    local odd = false
    for index = #some, 1, -1 do
      if rcall('HEXISTS', K .. 'of', some[index]) == 1 then
        odd = true
      else
        put('of', some[index], rcall('INCR', K .. 'seq'))
      end
    end
    if odd then rcall('SET', K .. 'gen', 'again') end
  end
end

local function index_prioritized()
  local more = rcall('ZCARD', KEYS[3]) - rcall('HLEN', K .. 'ofp')
  if more <= 0 then return end
  local from = tonumber(rcall('GET', K .. 'cursor') or '0')
  local some = rcall('ZRANGE', KEYS[3], from, from + CHUNK - 1)
  if #some == 0 and from > 0 then
    from = 0
    some = rcall('ZRANGE', KEYS[3], 0, CHUNK - 1)
  end
  for _, id in ipairs(some) do
    if more == 0 then break end
    if rcall('HEXISTS', K .. 'ofp', id) == 0 then
      put('ofp', id, rcall('INCR', K .. 'seq'))
      more = more - 1
    end
  end
  rcall('SET', K .. 'cursor', #some < CHUNK and 0 or from + CHUNK)
end

index_waiting()
index_prioritized()

-- What there is room for ---------------------------------------------------------------------------------------------

local groups_of = {}
for index, group in ipairs(allowed.groups) do
  for _, name in ipairs(group.names) do
    groups_of[name] = groups_of[name] or {}
    table.insert(groups_of[name], index)
  end
end

local function admits(name)
  local some = groups_of[name]
  if not some then return allowed.others ~= 0 end
  for _, index in ipairs(some) do
    if allowed.groups[index].free <= 0 then return false end
  end
  return true
end

local function take_place(name)
  local some = groups_of[name]
  if not some then
    if allowed.others > 0 then allowed.others = allowed.others - 1 end
    return
  end
  for _, index in ipairs(some) do allowed.groups[index].free = allowed.groups[index].free - 1 end
end

local counted
local function active(line)
  if not counted then
    counted = {[''] = 0}
    local ids = rcall('LRANGE', KEYS[2], 0, -1)
    counted[''] = #ids
    for from = 1, #ids, 1000 do
      for _, of in ipairs(rcall('HMGET', K .. 'run', unpack(ids, from, math.min(from + 999, #ids)))) do
        if of then
          local name = string.sub(of, 1, string.find(of, '\0', 1, true) - 1)
          counted['n' .. name] = (counted['n' .. name] or 0) + 1
          counted['k' .. of] = (counted['k' .. of] or 0) + 1
        end
      end
    end
    if rcall('HLEN', K .. 'run') > 2 * #ids + 256 then
      local kept = {}
      for _, id in ipairs(ids) do
        local of = rcall('HGET', K .. 'run', id)
        if of then kept[#kept + 1], kept[#kept + 2] = id, of end
      end
      rcall('DEL', K .. 'run')
      for index = 1, #kept, 2 do rcall('HSET', K .. 'run', kept[index], kept[index + 1]) end
    end
  end
  return counted[line] or 0
end

-- How many more a limit lets begin. `taken`: in this claim.
local function room(concurrency, rate, counted_as, window, taken)
  local left = 0x40000000
  if concurrency then
    left = concurrency - active(counted_as) - taken
    if left <= 0 then wait_until(now + AGAIN) end
  end
  if rate then
    local free = rate[1] - tonumber(rcall('GET', window) or '0')
    if free <= 0 then wait_until(now + math.max(1, rcall('PTTL', window))) end
    left = math.min(left, free)
  end
  return left
end

local function count_rate(rate, window)
  if rate and rcall('INCR', window) == 1 then rcall('PEXPIRE', window, rate[2]) end
end

local limit = wanted
local queue_room = room(allowed.concurrency, allowed.rate, '', K .. 'rate', 0)
limit = math.min(limit, queue_room)
-- BullMQ's own global concurrency holds as well.
if meta[2] then limit = math.min(limit, tonumber(meta[2]) - rcall('LLEN', KEYS[2])) end
local lefts, begun = {}, {}
for name, one in pairs(allowed.names) do
  local left = room(one.concurrency, one.rate, 'n' .. name, K .. 'rate:' .. name, 0)
  if left <= limit then
    lefts[name] = math.max(0, left)
    allowed.groups[#allowed.groups + 1] = {free = lefts[name]}
    groups_of[name] = groups_of[name] or {}
    table.insert(groups_of[name], #allowed.groups)
  end
end

-- Taking -------------------------------------------------------------------------------------------------------------

local jobs = {}
local taken = {}

local function leave_line(line, id)
  if id then rcall('ZREM', K .. 'line:' .. line, id) end
  if rcall('EXISTS', K .. 'line:' .. line) == 0 then
    local at = string.find(line, '\0', 1, true)
    local name = string.sub(line, 1, at - 1)
    rcall('ZREM', K .. 'keys:' .. name, string.sub(line, at + 1))
    if rcall('EXISTS', K .. 'keys:' .. name) == 0 then rcall('ZREM', K .. 'names', name) end
  end
end

-- Takes a job of a line out of where it waits; false if it waits there no more.
local function leave_queue(line, id)
  local there
  if rcall('HDEL', K .. 'of', id) == 1 then
    there = rcall('LINDEX', KEYS[1], -1) == id and rcall('RPOP', KEYS[1]) or rcall('LREM', KEYS[1], 1, id) == 1
  elseif rcall('HDEL', K .. 'ofp', id) == 1 then
    there = rcall('ZREM', KEYS[3], id) == 1
  end
  leave_line(line, id)
  return there
end

local function begin(line, id, name)
  local key = prefix .. id
  rcall('LPUSH', KEYS[2], id)
  rcall('SET', key .. ':lock', ARGV[FIRST_TOKEN + #jobs], 'PX', duration)
  rcall('XADD', KEYS[4], '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
  local fields = rcall('HGETALL', key)
  local started = 1
  for index = 1, #fields, 2 do
    if fields[index] == 'ats' then started = fields[index + 1] + 1 end
  end
  rcall('HSET', key, 'processedOn', now, 'pb', host, 'ats', started)
  rcall('HSET', K .. 'run', id, name .. string.sub(line, string.find(line, '\0', 1, true), -1))
  jobs[#jobs + 1] = {fields, id, started}
  take_place(name)
  begun[name] = (begun[name] or 0) + 1
  taken[line] = (taken[line] or 0) + 1
  local one = allowed.names[name] or {}
  count_rate(allowed.rate, K .. 'rate')
  count_rate(one.rate, K .. 'rate:' .. name)
  if line ~= '\0' then count_rate(one.key_rate, K .. 'rate:' .. line) end
end

local looks = 0

-- One job of the handlers without keys, by priority, then age.
local passed = 0
local function of_plain()
  while looks < MOST_LOOKS do
    looks = looks + 1
    local id = rcall('ZRANGE', K .. 'line:\0', passed, passed)[1]
    if not id then return false end
    local name = rcall('HGET', prefix .. id, 'name')
    if not name then
      leave_queue('\0', id)
    elseif admits(name) then
      if leave_queue('\0', id) then
        begin('\0', id, name)
        return true
      end
    else
      passed = passed + 1
    end
  end
  return false
end

local function next_key(name, after)
  local from = after and '(' .. after or '-'
  return rcall('ZRANGEBYLEX', K .. 'keys:' .. name, from, '+', 'LIMIT', 0, 1)[1]
end

local over = {}
local function of_name(name)
  if not admits(name) then return false end
  local one = allowed.names[name] or {}
  local start = rcall('HGET', K .. 'turn', name)
  local key, wrapped = start, false
  while looks < MOST_LOOKS do
    looks = looks + 1
    local found = next_key(name, key)
    if not found or (wrapped and start and found > start) then
      if wrapped or not key then return false end
      key, wrapped = nil, true
    else
      key = found
      local line = name .. '\0' .. key
      while not over[line] do
        if room(one.key_concurrency, one.key_rate, 'k' .. line, K .. 'rate:' .. line, one.key_concurrency and taken[line] or 0) <= 0 then
          over[line] = true
        else
          local id = rcall('ZRANGE', K .. 'line:' .. line, 0, 0)[1]
          if not id then
            leave_line(line)
            over[line] = true
          elseif leave_queue(line, id) then
            begin(line, id, name)
            rcall('HSET', K .. 'turn', name, key)
            return true
          end
        end
      end
    end
  end
  wait_until(now + AGAIN)
  return false
end

local parts = {''}
for _, name in ipairs(rcall('ZRANGE', K .. 'names', 0, -1)) do
  if name ~= '' then parts[#parts + 1] = name end
end
local first = (rcall('HINCRBY', K .. 'turn', '', 1) - 1) % #parts
local turn, left = {}, #parts
for index = 1, #parts do turn[index] = parts[(index - 1 + first) % #parts + 1] end
while left > 0 and #jobs < limit do
  for index = 1, #turn do
    local name = turn[index]
    if name and #jobs < limit then
      local ok
      if name == '' then ok = of_plain() else ok = of_name(name) end
      if not ok then
        turn[index] = false
        left = left - 1
      end
    end
  end
end

if #jobs >= queue_room then wait_until(now + AGAIN) end
for name, room_left in pairs(lefts) do
  if (begun[name] or 0) >= room_left then wait_until(now + AGAIN) end
end
if #jobs > 0 then rcall('ZADD', KEYS[8], 0, '0') end
if rcall('LLEN', KEYS[1]) > rcall('HLEN', K .. 'of') then wait_until(now) end
local delayed = rcall('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
if delayed[2] then wait_until(math.floor(tonumber(delayed[2]) / 0x1000)) end
return {cmsgpack.pack(jobs), due and string.format('%.0f', due) or 0}
