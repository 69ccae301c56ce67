-- Whom holds stop, and who probes: proxy/core/limits/holds.py.

-- When a hold can let somebody go.
local function stops_until(hold, now)
  return (hold.ends > now or not hold.probing) and hold.ends or hold.silent_at
end

-- The hold that stops a call, the longest first: its place among `names`.
local function blocking(names, holds, now)
  local worst
  for place, hold in ipairs(holds) do
    if hold and hold.ends <= now and not hold.probe then
      redis.call('HDEL', HOLDS, names[place])
      holds[place] = false
    elseif hold and stops_until(hold, now) > now then
      if not worst or stops_until(hold, now) > stops_until(holds[worst], now) then
        worst = place
      end
    end
  end
  return worst
end

-- Of those that wait for a probe, now or at their end.
local function reasons(holds)
  local found = {}
  for _, hold in ipairs(holds) do
    if hold and hold.probe then
      found[hold.reason] = true
    end
  end
  return found
end

local function probe(names, holds, permit, now)
  local probed = {}
  for place, hold in ipairs(holds) do
    if hold then
      hold.silent_at = hold.probing and hold.silent_at or now + SILENT_SECONDS
      hold.probing = permit
      write_hold(names[place], hold)
      probed[#probed + 1] = place - 1
    end
  end
  return table.concat(probed, ' ')
end
