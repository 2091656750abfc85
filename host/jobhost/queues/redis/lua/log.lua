-- keys: 4
-- Lines of a job, in BullMQ's form and whole. KEYS: job, BullMQ's logs, our lines, how many there ever were.
-- ARGV: how many to keep, seconds to keep ours after the last, how many lines there are, those in BullMQ's form, then those in ours.
local rcall = redis.call
if rcall('EXISTS', KEYS[1]) == 0 then return 0 end
local keep, count = tonumber(ARGV[1]), tonumber(ARGV[3])
local last = rcall('INCRBY', KEYS[4], count)
local first = last - count
local theirs, ours = {}, {}
for index = 1, count do
  theirs[index] = ARGV[3 + index]
  ours[index] = (first + index) .. '|' .. ARGV[3 + count + index]
end
-- In parts: a call takes no more arguments than Lua's stack has room for.
for from = 1, count, 1000 do
  local to = math.min(from + 999, count)
  rcall('RPUSH', KEYS[2], unpack(theirs, from, to))
  rcall('RPUSH', KEYS[3], unpack(ours, from, to))
end
if last > keep then
  rcall('LTRIM', KEYS[2], -keep, -1)
  rcall('LTRIM', KEYS[3], -keep, -1)
end
-- With the first line, and now and then: a call for each line would cost as much as the line.
if first == 0 or math.floor(first / 64) ~= math.floor(last / 64) then
  rcall('EXPIRE', KEYS[3], ARGV[2])
  rcall('EXPIRE', KEYS[4], ARGV[2])
end
return 1
