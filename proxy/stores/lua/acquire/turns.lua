-- The replicas that wait for places of one organisation: `Contenders` of proxy/core/limits/sharing.py. The account's
-- `had` is how many places each replica has had in the `window` of the clock. Of those who wait the hash
--   <account>:due   "asked until": when each asked and when it comes back
-- and `awaited` of the account is when the last of them is expected, so that nobody looks where nobody waits.

local function turn_over(account, now)
  local window = math.floor(now / MINUTE_SECONDS)
  if window ~= account.window then
    account.window, account.had = window, {}
  end
end

local function all_due(account)
  local flat, found = redis.call('HGETALL', account.key .. ':due'), {}
  for place = 1, #flat, 2 do
    found[flat[place]] = flat[place + 1]
  end
  return found
end

-- How many go before this replica. Who did not come when it was expected has lost its turn.
local function ahead(account, replica, now)
  if now > account.awaited then
    return 0
  end
  turn_over(account, now)
  local had, count = account.had, 0
  local mine = had[replica] or 0
  for name, due in pairs(all_due(account)) do
    local asked, ends = string.match(due, '(%S+) (%S+)')
    local expected = tonumber(ends)
    if account.freed_at > tonumber(asked) then
      expected = math.min(expected, account.freed_at)
    end
    if now > expected + GRACE_SECONDS then
      redis.call('HDEL', account.key .. ':due', name)
    elseif name ~= replica and (had[name] or 0) < mine then
      count = count + 1
    end
  end
  return count
end

local function awaits(account, replica, now, ends)
  redis.call('HSET', account.key .. ':due', replica, exact(now) .. ' ' .. exact(ends))
  redis.call('EXPIRE', account.key .. ':due', SET_SECONDS)
  account.awaited = math.max(account.awaited, ends + GRACE_SECONDS)
end

local function has_had(account, replica, now, back_at)
  turn_over(account, now)
  account.had[replica] = (account.had[replica] or 0) + 1
  if back_at then
    awaits(account, replica, now, back_at)
  elseif now <= account.awaited then
    redis.call('HDEL', account.key .. ':due', replica)
  end
end
