-- Counts one request in all counters or in none.
--
-- KEYS: the counters. ARGV: for each requests, perSeconds, burst.
-- Answers 1 or 0 (admitted or not), then for each counter: how many may still come, and the microseconds until it is full and until it
-- lets the next one in.
--
-- A counter is kept as "<microsecond of the last count> <lack then> <requests> <interval>": what it lacks of being full, in units of
-- 1/requests microseconds, so that all numbers are whole, and the numbers of the limit that counted. Under a limit that was edited as many
-- requests as were used stay used. What can't be read is a full counter. The clock is this server's: those of
-- gateways differ.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local lacks, admitted = {}, 1
for i, key in ipairs(KEYS) do
  local requests, interval = tonumber(ARGV[3 * i - 2]), ARGV[3 * i - 1] * 1000000
  local window = ARGV[3 * i] * interval
  local kept = redis.pcall('GET', key)
  local lack = 0
  if type(kept) == 'string' then
    local at, before, of, took = string.match(kept, '^(%d+) (%d+) (%d+) (%d+)$')
    if at and tonumber(of) > 0 and tonumber(took) > 0 then
      lack = math.max(0, before - math.max(0, now - at) * of)
      if tonumber(of) ~= requests or tonumber(took) ~= interval then
        lack = math.ceil(lack * interval / took)
      end
      lack = math.min(lack, window)
    end
  end
  lacks[i] = lack
  if lack + interval > window then
    admitted = 0
  end
end

local answer = {admitted}
for i, key in ipairs(KEYS) do
  local requests, interval = tonumber(ARGV[3 * i - 2]), ARGV[3 * i - 1] * 1000000
  local window, lack = ARGV[3 * i] * interval, lacks[i]
  if admitted == 1 then
    lack = lack + interval
    local full_in_ms = math.min(math.ceil(lack / requests / 1000) + 1, 1e12)
    redis.call('SET', key, string.format('%.0f %.0f %d %.0f', now, lack, requests, interval), 'PX', string.format('%.0f', full_in_ms))
  end
  table.insert(answer, math.floor((window - lack) / interval))
  table.insert(answer, math.ceil(lack / requests))
  table.insert(answer, math.max(0, math.ceil((lack + interval - window) / requests)))
end
return answer
