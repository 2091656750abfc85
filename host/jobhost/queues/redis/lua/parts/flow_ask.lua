-- What is asked of flows beside the ends of jobs. ARGV: prefix, now (ms), verb, what (MessagePack).
P, now = ARGV[1], ARGV[2]
local verb, what = ARGV[3], cmsgpack.unpack(ARGV[4])
local reply = 0

-- Whether a claim still has its job, as holds.lua tells it.
local function holds(lease)
  local base = P .. ':' .. lease.queue .. ':'
  local held = rcall('GET', base .. lease.id .. ':lock')
  if held then return held == lease.token end
  return rcall('HGET', base .. lease.id, 'ats') == lease.ats and rcall('LPOS', base .. 'active', lease.id) and true
end

if verb == 'start' then
  local new, first = start(what.id, what.name, what.data, what.parent or nil, what.first)
  reply = {new, first}
elseif verb == 'emit' then
  if not holds(what.lease) then return redis.status_reply('LOST') end
  local place, source = what.place, what.source
  has(place.id, place.name or nil)
  if what.ours then
    rcall('HSET', P .. ':' .. source.queue .. ':' .. source.id, 'jh', what.ours)
    joins_flow(place.id, source.queue, source.id)
  end
  reply = emit_all(place, source, what.attempt, what.emits)
elseif verb == 'happened' then
  for _, one in ipairs(what) do
    local key = P .. ':' .. one.source.queue .. ':' .. one.source.id
    local facts = rcall('HMGET', key, 'name', 'finishedOn', 'processedOn')
    if facts[1] and one.ours then
      rcall('HSET', key, 'jh', one.ours)
      if not facts[2] then
        has(one.place.id, one.place.name or nil)
        joins_flow(one.place.id, one.source.queue, one.source.id)
      end
    end
    -- It may be told late, by a host that lost the job: a flow that has ended is left as it is.
    if facts[1] and look_up(one.place.id).status then
      happened(one.place.id, one.type, one.place.step, one.attempt, one.source, one.data)
    end
  end
elseif verb == 'again' then
  local member = what.queue .. '\0' .. what.id
  rcall('SREM', fkey(what.flow, 'failed'), member)
  rcall('SADD', fkey(what.flow, 'live'), member)
  if not look_up(what.flow).status then rcall('RPUSH', fkey(what.flow, 'jobs'), member) end  -- it had been forgotten
  has(what.flow, what.name or nil)
elseif verb == 'gone' then
  for _, one in ipairs(what) do
    if look_up(one.flow).status then leaves_flow(one.flow, one.queue, one.id) end
  end
elseif verb == 'look' then
  -- Jobs that ended or went without a word: a worker of BullMQ has them, or somebody removed them.
  for _, id in ipairs(what) do
    for _, member in ipairs(rcall('SMEMBERS', fkey(id, 'live'))) do
      local bar = string.find(member, '\0', 1, true)
      local queue, job = string.sub(member, 1, bar - 1), string.sub(member, bar + 1)
      if queue == '' then
        if look_up(job).status ~= 'running' then rcall('SREM', fkey(id, 'live'), member) end
      else
        local facts = rcall('HMGET', P .. ':' .. queue .. ':' .. job, 'name', 'finishedOn', 'failedReason')
        if not facts[1] or facts[2] then
          rcall('SREM', fkey(id, 'live'), member)
          if facts[2] and facts[3] then rcall('SADD', fkey(id, 'failed'), member) end
        end
      end
    end
    touch(id)
  end
elseif verb == 'tell' then
  if look_up(what.id).status then happened(what.id, what.type, nil, 0, nil, what.data) end
elseif verb == 'cancel' then
  if look_up(what.id).status == 'running' then
    rcall('HSET', fkey(what.id), 'error', what.error)
    end_flow(what.id, 'cancelled')
    reply = 1
  end
elseif verb == 'reopen' then
  local flow = look_up(what.id)
  if flow.status then
    if flow.status == 'cancelled' then flow.status = 'failed' end
    has(what.id)
    touched, order = {}, {}
    reply = 1
  end
elseif verb == 'forget' then
  for _, id in ipairs(what) do
    local parent = look_up(id).parent
    if parent and parent ~= '' then rcall('SREM', fkey(parent, 'children'), id) end
    for _, part in ipairs({'events', 'live', 'jobs', 'failed', 'joins', 'children'}) do rcall('DEL', fkey(id, part)) end
    rcall('DEL', fkey(id))
    rcall('ZREM', P .. ':jh:flows', id)
    rcall('ZREM', P .. ':jh:flows:ended', id)
    rcall('SREM', P .. ':jh:flows:running', id)
  end
end
finish_flows()
return reply
