-- The replicas that wait for places of one organisation: `Contenders` of proxy/core/sharing.py, over the hashes
--   <account>:had:<window>   how many places each replica has had in this window of the clock
--   <account>:due            "asked until": when each asked and when it comes back
-- `awaited` of the account is when the last of them is expected, so that nobody looks where nobody waits.

local function had_key(account, now)
  return account.key .. ':had:' .. math.floor(now / caps.seconds)
end

local function pairs_of(key)
  local flat, found = redis.call('HGETALL', key), {}
  for place = 1, #flat, 2 do
    found[flat[place]] = flat[place + 1]
  end
  return found
end

-- How many go before this replica. Who did not come when it was expected has lost its turn.
local function ahead(account, now)
  if now > account.awaited then
    return 0
  end
  local had, count = pairs_of(had_key(account, now)), 0
  local mine = tonumber(had[replica] or 0)
  for name, due in pairs(pairs_of(account.key .. ':due')) do
    local asked, ends = string.match(due, '(%S+) (%S+)')
    local expected = tonumber(ends)
    if account.freed_at > tonumber(asked) then
      expected = math.min(expected, account.freed_at)
    end
    if now > expected + GRACE_SECONDS then
      redis.call('HDEL', account.key .. ':due', name)
    elseif name ~= replica and tonumber(had[name] or 0) < mine then
      count = count + 1
    end
  end
  return count
end

local function awaits(account, now, ends)
  redis.call('HSET', account.key .. ':due', replica, exact(now) .. ' ' .. exact(ends))
  redis.call('EXPIRE', account.key .. ':due', math.ceil(2 * account.span + MARGIN_SECONDS))
  account.awaited = math.max(account.awaited, ends + GRACE_SECONDS)
end

local function has_had(account, now, back_at)
  local key = had_key(account, now)
  if redis.call('HINCRBY', key, replica, 1) == 1 then
    redis.call('EXPIRE', key, math.ceil(caps.seconds + MARGIN_SECONDS))
  end
  if back_at then
    awaits(account, now, back_at)
  elseif now <= account.awaited then
    redis.call('HDEL', account.key .. ':due', replica)
  end
end
