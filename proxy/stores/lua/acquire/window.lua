-- What a minute's window says to who wants a place, and how it takes one: proxy/core/limits/window.py.

local function earliest(account, now, alone)
  local vacant = vacated(account, now, alone)
  if not vacant or alone or unclaimed(account, now) > 0 then
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
