-- What a minute's window says to who wants a place, and how it takes one: proxy/core/window.py.

-- When the call after `place` others leaves, of those whose end is known.
local function leaving(account, place, horizon)
  local set, low, batches = account.key .. ':r', '(' .. exact(horizon), account.batches
  local others = 0
  for first = 1, #batches, 2 do
    local at, count = batches[first], batches[first + 1]
    if at > horizon then
      local ours = redis.call('ZCOUNT', set, low, '(' .. exact(at))
      if place < ours + others then
        break
      elseif place < ours + others + count then
        return at
      end
      others = others + count
    end
  end
  local found = redis.call('ZRANGEBYSCORE', set, low, '+inf', 'WITHSCORES', 'LIMIT', place - others, 1)
  return found[2] and tonumber(found[2])
end

local function earliest(account, now)
  local vacant = now
  local left = account.limit - occupied(account, now)
  if left <= 0 then
    local at = leaving(account, math.max(0, -left), now - account.span)
    vacant = at and at + account.span
  end
  if not vacant or unclaimed(account, now) > 0 then
    return vacant
  end
  return math.max(vacant, account.sent_at + HEARING_SECONDS)
end

local function forget_moments(account, set, horizon)
  local key = account.key .. set
  local old = redis.call('ZCOUNT', key, '-inf', exact(horizon))
  if old > 0 and 2 * old >= redis.call('ZCARD', key) then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', exact(horizon))
    account[set] = NEVER -- where that was all of it, the set is made anew
  end
end

-- Keep what `learn` can still ask about: two windows.
local function forget(account, horizon)
  forget_moments(account, ':s', horizon)
  forget_moments(account, ':r', horizon)
  local batches = account.batches
  while batches[1] and batches[1] <= horizon do
    table.remove(batches, 1)
    account.others_gone = account.others_gone + table.remove(batches, 1)
  end
end

local function dispatch(account, now, permit)
  add_moment(account, ':s', now, permit)
  account.sent = account.sent + 1
  account.sent_at = now
  local horizon = now - 2 * account.span
  if account.oldest <= horizon then
    account.oldest = tonumber(redis.call('ZRANGE', account.key .. ':s', 0, 0, 'WITHSCORES')[2])
    if account.oldest <= horizon then
      forget(account, horizon)
    end
  end
end
