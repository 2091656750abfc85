-- keys: 8
-- Takes many jobs in one step, as so many calls of BullMQ's moveToActive would one after the other.
-- KEYS: wait, active, prioritized, events, delayed, meta, pc, marker.
-- ARGV: prefix, now (ms), lock duration (ms), worker's name, then a token for each job.
-- Gives {jobs, when to ask again}: jobs are {fields, id}; nothing at all where a rate limit holds, which is BullMQ's own to keep.
local rcall = redis.call
local prefix, now = ARGV[1], ARGV[2]
local meta = rcall('HMGET', KEYS[6], 'paused', 'concurrency', 'max')
if meta[3] then return false end

local function full()
  return meta[1] or (meta[2] and rcall('LLEN', KEYS[2]) >= tonumber(meta[2]))
end

-- Delayed jobs that are due wait from now on, at the end of the line; a thousand at once, as there.
local function promote(isFull)
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
  if not isFull then rcall('ZADD', KEYS[8], 0, '0') end
  return #due == 1000
end

local function nextJob()
  local id = rcall('RPOPLPUSH', KEYS[1], KEYS[2])
  if id and string.sub(id, 1, 2) == '0:' then
    rcall('LREM', KEYS[2], 1, id)
    id = rcall('RPOPLPUSH', KEYS[1], KEYS[2])
  end
  if id then return id end
  local first = rcall('ZPOPMIN', KEYS[3])
  if #first > 0 then
    rcall('LPUSH', KEYS[2], first[1])
    return first[1]
  end
  rcall('DEL', KEYS[7])
end

local jobs = {}
local more = true
for index = 5, #ARGV do
  local isFull = full()
  if more then more = promote(isFull) end
  if isFull then return {jobs, 0} end
  local id = nextJob()
  if not id then
    local first = rcall('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
    return {jobs, first[2] and string.format('%.0f', math.floor(tonumber(first[2]) / 0x1000)) or 0}
  end
  local key = prefix .. id
  rcall('SET', key .. ':lock', ARGV[index], 'PX', ARGV[3])
  rcall('XADD', KEYS[4], '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
  local started = (tonumber(rcall('HGET', key, 'ats')) or 0) + 1
  rcall('HSET', key, 'processedOn', now, 'pb', ARGV[4], 'ats', started)
  if #jobs == 0 then rcall('ZADD', KEYS[8], 0, '0') end
  jobs[#jobs + 1] = {rcall('HGETALL', key), id}
end
return {jobs, 0}
