-- keys: 8
-- Takes many jobs in one step, as so many calls of BullMQ's moveToActive would one after the other.
-- KEYS: wait, active, prioritized, events, delayed, meta, pc, marker.
-- ARGV: prefix, now (ms), lock duration (ms), worker's name, then a token for each job.
-- Gives {jobs, when to ask again}. Jobs: {fields before this start, id, attempts started with it}, all in one MessagePack
-- text, which costs a third of so many replies; nothing at all where a rate limit holds, which is BullMQ's own to keep.
local rcall = redis.call
local prefix, now, duration, host = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local meta = rcall('HMGET', KEYS[6], 'paused', 'concurrency', 'max')
if meta[3] then return false end
local limit = tonumber(meta[2])
local wanted = #ARGV - 4
local jobs = {}

-- How many more may be taken now.
local function places()
  if meta[1] then return 0 end
  local left = wanted - #jobs
  return limit and math.min(left, limit - rcall('LLEN', KEYS[2])) or left
end

-- Delayed jobs that are due wait from now on, at the end of the line; a thousand at once, as there.
local function promote(full)
  local due = rcall('ZRANGEBYSCORE', KEYS[5], 0, (now + 1) * 0x1000 - 1, 'LIMIT', 0, 1000)
  if #due == 0 then return false end
  rcall('ZREM', KEYS[5], unpack(due))
  for _, id in ipairs(due) do
    local priority = tonumber(rcall('HGET', prefix .. id, 'priority')) or 0
    if priority == 0 then
      rcall('LPUSH', KEYS[1], id)
    else
      rcall('ZADD', KEYS[3], priority * 0x100000000 + rcall('INCR', KEYS[7]) % 0x100000000, id)
    end
    rcall('XADD', KEYS[4], '*', 'event', 'waiting', 'jobId', id, 'prev', 'delayed')
    rcall('HSET', prefix .. id, 'delay', 0)
  end
  if not full then rcall('ZADD', KEYS[8], 0, '0') end
  return #due == 1000
end

-- The next jobs of one list, at most so many; none if nothing waits.
local function take(count)
  local ids = rcall('RPOP', KEYS[1], count)
  if ids then
    -- Markers of older releases of BullMQ lie among the jobs.
    local found = {}
    for _, id in ipairs(ids) do
      if string.sub(id, 1, 2) ~= '0:' then found[#found + 1] = id end
    end
    if #found == 0 then return take(count) end
    ids = found
  else
    ids = {}
    local first = rcall('ZPOPMIN', KEYS[3], count)
    for index = 1, #first, 2 do ids[#ids + 1] = first[index] end
  end
  if #ids > 0 then
    rcall('LPUSH', KEYS[2], unpack(ids))
  else
    rcall('DEL', KEYS[7])
  end
  return ids
end

local function begin(id)
  local key = prefix .. id
  rcall('SET', key .. ':lock', ARGV[#jobs + 5], 'PX', duration)
  rcall('XADD', KEYS[4], '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
  local fields = rcall('HGETALL', key)
  local started = 1
  for index = 1, #fields, 2 do
    if fields[index] == 'ats' then started = fields[index + 1] + 1 end
  end
  rcall('HSET', key, 'processedOn', now, 'pb', host, 'ats', started)
  jobs[#jobs + 1] = {fields, id, started}
end

local more = true
while #jobs < wanted do
  local free = places()
  if more then more = promote(free <= 0) end
  if free <= 0 then return {cmsgpack.pack(jobs), 0} end
  local ids = take(more and 1 or free)
  if #ids == 0 then
    local first = rcall('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
    return {cmsgpack.pack(jobs), first[2] and string.format('%.0f', math.floor(tonumber(first[2]) / 0x1000)) or 0}
  end
  if #jobs == 0 then rcall('ZADD', KEYS[8], 0, '0') end
  for _, id in ipairs(ids) do begin(id) end
end
return {cmsgpack.pack(jobs), 0}
