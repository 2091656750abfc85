-- What becomes of flows, as queues/delivery.py says it for the other stores. Another part of the text defines `add_job`, BullMQ's
-- addStandardJob as a function, before this one, and what is to be done stands behind it.
-- A flow is the hash PREFIX:jh:flow:ID (name, status, started, finished, parent, cut, data, error), and beside it `events` (a list of
-- MessagePack, the first being number cut + 1), `live` (what has not ended: QUEUE\0ID of jobs, \0ID of sub-flows), `jobs` (in the order they
-- came), `failed` (jobs whose failure counts), `joins` (HANDLER\0KEY\0TRIGGER -> payload), `children`.
-- PREFIX:jh:subs:TRIGGER is a hash of handler -> [queue, joins]. What a job has emitted is in its own hash, as `je`.
local rcall = redis.call
local P, now
local EVENTS_KEPT, DATA_SHOWN = 100000, 65536
local news = {}
-- Flows to be looked at in the end, in the order in which they were first met: what ends together ends in one order on every store.
local touched, order = {}, {}
-- What this step knows of flows: {status, name, parent}, and `live` if something was added. And who subscribes to triggers.
local flows, subscribed = {}, {}

local function fkey(id, part)
  local key = P .. ':jh:flow:' .. id
  return part and key .. ':' .. part or key
end

local function shown(name, value)
  if not value or value == '' then value = 'null' end
  if #value > DATA_SHOWN then return '{"' .. name .. '_bytes":' .. #value .. '}' end
  return '{"' .. name .. '":' .. value .. '}'
end

local function touch(id)
  if touched[id] then return end
  touched[id] = true
  order[#order + 1] = id
end

-- Events are kept together at the end: see finish_flows.
local function happened(id, type, step, attempt, source, data)
  local queue, job = '', ''
  if source and not source.flow then queue, job = source.queue, source.id end
  local some = news[id]
  if not some then
    some = {}
    news[id] = some
  end
  some[#some + 1] = cmsgpack.pack({now, type, step or '', attempt or 0, queue, job, data or ''})
  touch(id)
end

local function look_up(id)
  local flow = flows[id]
  if not flow then
    local found = rcall('HMGET', fkey(id), 'status', 'name', 'parent')
    flow = {status = found[1], name = found[2], parent = found[3]}
    flows[id] = flow
  end
  return flow
end

local function under(parent, id)
  rcall('SADD', fkey(parent, 'live'), '\0' .. id)
  rcall('SADD', fkey(parent, 'children'), id)
end

local function begin(id, name, data, parent)
  flows[id] = {status = 'running', name = name or '', parent = parent or ''}
  rcall('HSET', fkey(id), 'status', 'running', 'started', now, 'name', name or '', 'data', data or '', 'parent', parent or '')
  rcall('ZADD', P .. ':jh:flows', now, id)
  rcall('SADD', P .. ':jh:flows:running', id)
  if parent then under(parent, id) end
  happened(id, 'flow.started', nil, 0, nil, shown('data', data))
end

-- A flow that a job belongs to: made if it is not there, running again if it had ended by itself.
local function has(id, name)
  local flow = look_up(id)
  local status, parent = flow.status, flow.parent
  if not status then
    begin(id, name)
  elseif status == 'completed' or status == 'failed' then
    flow.status = 'running'
    rcall('HSET', fkey(id), 'status', 'running')
    rcall('HDEL', fkey(id), 'finished', 'error')
    rcall('ZREM', P .. ':jh:flows:ended', id)
    rcall('SADD', P .. ':jh:flows:running', id)
    if parent ~= '' then
      rcall('SREM', fkey(parent, 'failed'), '\0' .. id)
      under(parent, id)
      has(parent)
    end
  end
  touch(id)
end

-- A job belongs to a flow from now on, and has not ended.
local function joins_flow(id, queue, job)
  rcall('SADD', fkey(id, 'live'), queue .. '\0' .. job)
  rcall('RPUSH', fkey(id, 'jobs'), queue .. '\0' .. job)
  look_up(id).live = true
  touch(id)
end

local function leaves_flow(id, queue, job)
  rcall('SREM', fkey(id, 'live'), queue .. '\0' .. job)
  touch(id)
end

local function add(id, handler, queue, job, data)
  local base = P .. ':' .. queue .. ':'
  if rcall('EXISTS', base .. job) == 0 then
    local name = look_up(id).name
    local ours = '{"flow_id":' .. cjson.encode(id) .. (name ~= '' and ',"flow_name":' .. cjson.encode(name) or '') .. '}'
    add_job({base .. 'wait', base .. 'paused', base .. 'meta', base .. 'id', base .. 'completed', base .. 'delayed',
      base .. 'active', base .. 'events', base .. 'marker'},
      {cmsgpack.pack({base, job, handler, now}), data, cmsgpack.pack({attempts = 0, jobId = job}), now, ours})
    joins_flow(id, queue, job)
  end
  return '[' .. cjson.encode(handler) .. ',' .. cjson.encode(queue) .. ',"' .. job .. '"]'
end

-- What a job has emitted before, in its own hash: gone with it.
local function marks_of(source)
  local key = P .. ':' .. source.queue .. ':' .. source.id
  return {key = key, text = rcall('HGET', key, 'je') or ''}
end

local function first_emit(marks, identity)
  local mark = string.sub(identity, 1, 20) .. ' '
  if string.find(marks.text, mark, 1, true) then return false end
  marks.text = marks.text .. mark
  marks.new = true
  return true
end

local function keep_marks(marks)
  if marks.new and rcall('EXISTS', marks.key) == 1 then rcall('HSET', marks.key, 'je', marks.text) end
end

-- Those who get a job for a trigger, by name: {handler, queue, joins}.
local function subscribers(trigger)
  local found = subscribed[trigger]
  if found then return found end
  found = {}
  subscribed[trigger] = found
  local flat = rcall('HGETALL', P .. ':jh:subs:' .. trigger)
  for index = 1, #flat, 2 do
    local told = cjson.decode(flat[index + 1])
    found[#found + 1] = {flat[index], told[1], told[2]}
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  return found
end

-- Begins a flow; whether it is new, and how many first steps it has. `first`: {handler, queue} each, or false for the published ones.
local function start(id, name, data, parent, first)
  if look_up(id).status then return 0, 0 end
  begin(id, name, data, parent)
  first = first or subscribers('start:' .. name)
  for _, each in ipairs(first) do
    add(id, each[1], each[2], redis.sha1hex(id .. '\0' .. each[1]), data)
  end
  return 1, #first
end

-- A join's job, if all it waits for is there.
local function complete(id, join, key)
  local head = join[1] .. '\0' .. key
  local members = {}
  for _, trigger in ipairs(join[3]) do
    local payload = rcall('HGET', fkey(id, 'joins'), head .. '\0' .. trigger)
    if not payload then return nil end
    members[#members + 1] = cjson.encode(trigger) .. ':' .. payload
  end
  local data = '{' .. table.concat(members, ',') .. '}'
  return add(id, join[1], join[2], redis.sha1hex(id .. '\0' .. join[1] .. '\0' .. key), data)
end

-- One emit: {id, trigger, payload, key or false, implied, starts}. False if nobody subscribes to it.
local function emit(id, step, source, attempt, one, marks)
  local identity, trigger, payload, key = one[1], one[2], one[3], one[4]
  local some = one[6] and {} or subscribers(trigger)
  if one[5] and #some == 0 then return true end
  if marks and not first_emit(marks, identity) then return true end
  local told = '"trigger":' .. cjson.encode(trigger)
  if key then told = told .. ',"key":' .. cjson.encode(key) end
  if look_up(id).status == 'cancelled' then
    happened(id, 'step.ignored', step, attempt, source, '{' .. told .. ',"reason":"the flow was cancelled"}')
    return true
  end
  if one[6] then
    local child = redis.sha1hex(identity .. '\0flow')
    happened(id, 'step.emitted', step, attempt, source, '{"starts":' .. cjson.encode(trigger) .. ',"flow_id":"' .. child .. '"}')
    local new, first = start(child, trigger, payload, id, false)
    return first > 0 or new == 0
  end
  local made, waiting, ignored = {}, {}, {}
  for _, each in ipairs(some) do
    if #each[3] == 0 then
      made[#made + 1] = add(id, each[1], each[2], redis.sha1hex(identity .. '\0' .. each[1]), payload)
    elseif rcall('HSETNX', fkey(id, 'joins'), each[1] .. '\0' .. (key or '') .. '\0' .. trigger, payload) == 0 then
      ignored[#ignored + 1] = each[1]
    else
      local job = complete(id, each, key or '')
      if job then made[#made + 1] = job else waiting[#waiting + 1] = cjson.encode(each[1]) end
    end
  end
  local more = #waiting > 0 and ',"waiting":[' .. table.concat(waiting, ',') .. ']' or ''
  happened(id, 'step.emitted', step, attempt, source, '{' .. told .. ',"to":[' .. table.concat(made, ',') .. ']' .. more .. '}')
  for _, handler in ipairs(ignored) do
    local reason = cjson.encode(handler .. ' has its ' .. trigger .. ' already')
    happened(id, 'step.ignored', handler, attempt, source, '{' .. told .. ',"reason":' .. reason .. '}')
  end
  return #some > 0
end

-- `marks`: of the source, to be kept by the caller; else they are read and kept here.
local function emit_all(place, source, attempt, emits, marks)
  local unmatched = {}
  if #emits == 0 then return unmatched end
  local mine = marks or marks_of(source)
  for _, one in ipairs(emits) do
    if not emit(place.id, place.step, source, attempt, one, mine) then unmatched[#unmatched + 1] = one[2] end
  end
  if not marks then keep_marks(mine) end
  return unmatched
end

-- A job has ended for good. `what`: {place = {id, name, step, counts}, source = {queue, id}, new, attempt, emits, result, error, failed};
-- `new`: it belongs to the flow only now.
local function ended(what, marks)
  local place, source = what.place, what.source
  local id = place.id
  has(id, place.name or nil)
  if what.new then rcall('RPUSH', fkey(id, 'jobs'), source.queue .. '\0' .. source.id) end
  if what.failed then
    happened(id, 'step.failed', place.step, what.attempt, source, shown('error', what.error))
    if place.counts then
      rcall('SADD', fkey(id, 'failed'), source.queue .. '\0' .. source.id)
      rcall('HSETNX', fkey(id), 'error', what.error)
    end
  else
    happened(id, 'step.completed', place.step, what.attempt, source, shown('result', what.result))
  end
  local unmatched = emit_all(place, source, what.attempt, what.emits, marks)
  if not what.new then leaves_flow(id, source.queue, source.id) end
  return unmatched
end

-- The triggers that a handler waits for together, as it is published now.
local function needs_of(handler)
  local stored = rcall('HGET', P .. ':jh:handlers', handler)
  if not stored then return {} end
  local ok, info = pcall(cjson.decode, cjson.decode(stored)[2])
  local flow = ok and type(info) == 'table' and info.flow
  if type(flow) ~= 'table' or flow.join ~= 'all' or type(flow.subscribes) ~= 'table' then return {} end
  local several = {}
  for _, trigger in ipairs(flow.subscribes) do
    if type(trigger) == 'string' then several[trigger] = true end
  end
  return next(several, next(several)) and flow.subscribes or {}
end

-- Handlers whose join never got all it waits for, as JSON texts.
local function unmet_of(id)
  local there, needs = {}, {}
  for _, field in ipairs(rcall('HKEYS', fkey(id, 'joins'))) do
    local handler, _, trigger = string.match(field, '^([^%z]*)%z(.*)%z([^%z]*)$')
    local head = string.sub(field, 1, #field - #trigger - 1)
    if not needs[handler] then needs[handler] = needs_of(handler) end
    there[head] = there[head] or {handler = handler}
    there[head][trigger .. '\0'] = true
  end
  local handlers, listed = {}, {}
  for _, one in pairs(there) do
    for _, trigger in ipairs(needs[one.handler]) do
      if not one[trigger .. '\0'] and not listed[one.handler] then
        listed[one.handler] = true
        handlers[#handlers + 1] = cjson.encode(one.handler)
      end
    end
  end
  return handlers
end

local function end_flow(id, status)
  local flow = look_up(id)
  flow.status = status
  rcall('HSET', fkey(id), 'status', status, 'finished', now)
  rcall('ZADD', P .. ':jh:flows:ended', now, id)
  rcall('SREM', P .. ':jh:flows:running', id)
  if status == 'completed' then
    rcall('HDEL', fkey(id), 'error')
    local handlers = unmet_of(id)
    table.sort(handlers)
    local unmet = #handlers > 0 and '{"unmet":[' .. table.concat(handlers, ',') .. ']}'
    happened(id, 'flow.completed', nil, 0, nil, unmet or nil)
  else
    happened(id, 'flow.failed', nil, 0, nil, shown('error', rcall('HGET', fkey(id), 'error')))
    if status == 'failed' then rcall('PUBLISH', P .. ':jh:flow_failed', cjson.encode({id, flow.name, tonumber(now)})) end
  end
  local parent, name = flow.parent, flow.name
  if parent == '' or not look_up(parent).status then return end
  rcall('SREM', fkey(parent, 'live'), '\0' .. id)
  touch(parent)
  if status ~= 'completed' then
    rcall('SADD', fkey(parent, 'failed'), '\0' .. id)
    local error = rcall('HGET', fkey(id), 'error')
    if error then rcall('HSETNX', fkey(parent), 'error', error) end
  end
  if look_up(parent).status == 'running' then
    local trigger = 'flow:' .. name .. (status == 'completed' and '' or ':failed')
    local payload = '{"flow_id":' .. cjson.encode(id) .. ',"status":"' .. status .. '"}'
    local identity = redis.sha1hex('\0' .. id .. '\0' .. now .. '\0i\0' .. trigger .. '\0n0')
    emit(parent, nil, {flow = true}, 0, {identity, trigger, payload, false, true, false}, nil)
  end
end

-- Ends the flows of which nothing is left to end, and tells who listens; called once, last.
local function finish_flows()
  local index = 1
  while order[index] do
    local id = order[index]
    index = index + 1
    touched[id] = nil
    local flow = look_up(id)
    if flow.status == 'running' and not flow.live and rcall('SCARD', fkey(id, 'live')) == 0 then
      end_flow(id, rcall('SCARD', fkey(id, 'failed')) > 0 and 'failed' or 'completed')
    end
  end
  order = {}
  local told = {}
  for id, some in pairs(news) do
    local length
    for from = 1, #some, 1000 do
      length = rcall('RPUSH', fkey(id, 'events'), unpack(some, from, math.min(from + 999, #some)))
    end
    if length > EVENTS_KEPT + 1000 then
      rcall('LTRIM', fkey(id, 'events'), -EVENTS_KEPT, -1)
      rcall('HINCRBY', fkey(id), 'cut', length - EVENTS_KEPT)
    end
    told[#told + 1] = id
  end
  news = {}
  if #told > 0 then rcall('PUBLISH', P .. ':jh:flow', cjson.encode(told)) end
end
