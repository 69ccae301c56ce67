-- Whom holds stop, and who probes: proxy/core/holds.py.

-- The hold that stops a call, the longest first: its place among `names`.
local function blocking(names, holds, now)
  local worst
  for place, hold in ipairs(holds) do
    if hold and hold.ends <= now and not hold.probe then
      redis.call('HDEL', HOLDS, names[place])
      holds[place] = false
    elseif hold and (hold.ends > now or hold.probing) then
      if not worst or hold.ends > holds[worst].ends then
        worst = place
      end
    end
  end
  return worst
end

local function probe(names, holds, permit)
  local probed = {}
  for place, hold in ipairs(holds) do
    if hold then
      hold.probing = permit
      write_hold(names[place], hold)
      probed[#probed + 1] = place - 1
    end
  end
  return table.concat(probed, ' ')
end
