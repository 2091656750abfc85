-- Completes many plain jobs in one step, as so many calls of BullMQ's moveToFinished would one after the other.
-- Plain: no parent, no children left, no deduplication, and kept for ever or not at all.
-- KEYS: active, stalled, events, meta, completed, metrics, wait, prioritized.
-- ARGV: prefix of the queue, now (ms), minutes of metrics, prefix of all, then of each job its id, its token, '1' to keep it or '0', its
-- result, our fields of it, or '' if none of them changed, and what `ended` of flow.lua takes, or '' outside of flows.
-- Gives for each 0, moveToFinished's negative number, 1 where it is not plain (nothing was done with that one), or of a job of a flow the
-- triggers that nobody subscribes to.
local prefix = ARGV[1]
P, now = ARGV[4], ARGV[2]
local most = rcall('HGET', KEYS[4], 'opts.maxLenEvents')
if not most then
  most = 10000
  rcall('HSET', KEYS[4], 'opts.maxLenEvents', most)
end
rcall('XTRIM', KEYS[3], 'MAXLEN', '~', most)

local locks, children = {}, {}
for index = 5, #ARGV, 6 do
  local key = prefix .. ARGV[index]
  locks[#locks + 1] = key .. ':lock'
  children[#children + 1] = key .. ':dependencies'
  children[#children + 1] = key .. ':unsuccessful'
end
local held = rcall('MGET', unpack(locks))
local parents = rcall('EXISTS', unpack(children)) > 0

local running = rcall('LLEN', KEYS[1])
local done = 0
local opened, gone, kept = {}, {}, {}

local function finish(id, token, keep, result, ours, flow, lock)
  local key = prefix .. id
  local facts = rcall('HMGET', key, 'parentKey', 'deid', 'name', 'atm', flow ~= '' and 'je' or 'deid')
  if facts[1] or facts[2] or not facts[3] then return 1 end
  if parents and rcall('EXISTS', key .. ':dependencies', key .. ':unsuccessful') ~= 0 then return 1 end
  if lock ~= token then return lock and -6 or -2 end
  opened[#opened + 1] = key .. ':lock'
  gone[#gone + 1] = id
  if rcall('LREM', KEYS[1], -1, id) < 1 then return -3 end
  running = running - 1
  local reply, marks = 0, nil
  if flow ~= '' then
    marks = {text = facts[5] or ''}
    reply = ended(cmsgpack.unpack(flow), marks)
  end
  if keep == '1' then
    kept[#kept + 1] = now
    kept[#kept + 1] = id
    local made = (facts[4] or 0) + 1
    if ours ~= '' then
      rcall('HSET', key, 'jh', ours, 'atm', made, 'returnvalue', result, 'finishedOn', now)
    else
      rcall('HSET', key, 'atm', made, 'returnvalue', result, 'finishedOn', now)
    end
    if marks and marks.new then rcall('HSET', key, 'je', marks.text) end
  else
    rcall('DEL', key, key .. ':logs', key .. ':processed', key .. ':failed')
  end
  rcall('XADD', KEYS[3], '*', 'event', 'completed', 'jobId', id, 'returnvalue', result, 'prev', 'active')
  done = done + 1
  if running == 0 and rcall('LLEN', KEYS[7]) == 0 and rcall('ZCARD', KEYS[8]) == 0 then
    rcall('XADD', KEYS[3], '*', 'event', 'drained')
  end
  return reply
end

local replies = {}
for index = 5, #ARGV, 6 do
  local lock = held[#replies + 1]
  replies[#replies + 1] =
    finish(ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3], ARGV[index + 4], ARGV[index + 5], lock)
end

-- What needs no order is done for all of them together.
if #opened > 0 then
  rcall('DEL', unpack(opened))
  rcall('SREM', KEYS[2], unpack(gone))
end
if #kept > 0 then rcall('ZADD', KEYS[5], unpack(kept)) end

-- The counts of BullMQ's metrics, one point a minute: of jobs that end at one moment only the first can begin a new point.
if done > 0 then
  local before = rcall('HINCRBY', KEYS[6], 'count', done) - done
  local last = rcall('HGET', KEYS[6], 'prevTS')
  if not last then
    rcall('HSET', KEYS[6], 'prevTS', now, 'prevCount', 0)
  else
    local points = math.min(math.floor(now / 60000) - math.floor(last / 60000), tonumber(ARGV[3]))
    if points > 0 then
      local list = KEYS[6] .. ':data'
      rcall('LPUSH', list, before - rcall('HGET', KEYS[6], 'prevCount'))
      for _ = 2, points do rcall('LPUSH', list, 0) end
      rcall('LTRIM', list, 0, ARGV[3] - 1)
      rcall('HSET', KEYS[6], 'prevCount', before, 'prevTS', now)
    end
  end
end
finish_flows()
return replies
