-- A minute's window and whom it belongs to: proxy/core/window.py, over the keys
--   <account>     the counts and times of a window, and of its organisation if it is one's, packed
--   <account>:s   sorted set: when each call was sent, by permit
--   <account>:r   sorted set: when each response head, or failure, was read, by permit
-- Counts stand in the first, so what has left the sets, be it by age or by expiry, stays counted.

local function exact(number)
  return string.format('%.17g', number)
end

local function new_account(limit)
  local never = -math.huge
  return {
    sent = 0, settled = 0, others = 0, others_gone = 0, batches = {}, -- batches: when, count, when, count …
    read_at = never, read_left = limit, read_gone = 0, raised_at = never, lowered_at = never, sent_at = never,
    began_after = never, began_before = never,
    in_flight = 0, used = 0, asked_at = never, freed_at = never, awaited = never, -- an organisation's
  }
end

local function read_account(key, limit)
  local packed = redis.call('GET', key)
  local account = packed and cmsgpack.unpack(packed) or new_account(limit)
  account.key, account.limit, account.known = key, limit, packed and true
  account.span = caps.seconds * (1 + CLOCK_DRIFT)
  return account
end

local function write_account(account)
  local key = account.key
  account.key, account.limit, account.known, account.span = nil, nil, nil, nil
  redis.call('SET', key, cmsgpack.pack(account), 'EX', ACCOUNT_SECONDS)
end

local function add_moment(account, set, at, permit)
  redis.call('ZADD', account.key .. set, at, permit)
  redis.call('EXPIRE', account.key .. set, math.ceil(2 * account.span + MARGIN_SECONDS))
end

local function sent_until(account, at)
  return account.sent - redis.call('ZCOUNT', account.key .. ':s', '(' .. exact(at), '+inf')
end

local function settled_until(account, at)
  return account.settled - redis.call('ZCOUNT', account.key .. ':r', '(' .. exact(at), '+inf')
end

local function settled_before(account, at)
  return account.settled - redis.call('ZCOUNT', account.key .. ':r', exact(at), '+inf')
end

local function others_until(account, at)
  local count, batches = account.others_gone, account.batches
  for place = 1, #batches, 2 do
    if batches[place] <= at then
      count = count + batches[place + 1]
    end
  end
  return count
end

local function foreign(account, now)
  if account.others == 0 then
    return 0
  end
  return account.others - others_until(account, now - account.span)
end

local function occupied(account, now)
  return account.sent - settled_until(account, now - account.span) + foreign(account, now)
end

local function gone(account, now)
  local horizon = now - account.span
  return settled_until(account, horizon) + others_until(account, horizon)
end

local function unaccounted(account, sent_at)
  return math.max(0, account.sent - settled_before(account, sent_at) - 1)
end

local function unclaimed(account, now)
  local alone = now - account.raised_at > COMPANY_WINDOWS * account.span
  if alone or now - account.sent_at >= HEARING_SECONDS or account.sent == account.settled then
    return account.limit
  end
  return account.read_left - unaccounted(account, account.read_at) + gone(account, now) - account.read_gone
end

local function free(account, now)
  local left = account.limit - occupied(account, now)
  if now - account.raised_at <= COMPANY_WINDOWS * account.span then
    left = math.min(left, unclaimed(account, now))
  end
  return math.max(0, left)
end

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
  local oldest = redis.call('ZRANGE', account.key .. ':s', 0, 0, 'WITHSCORES')
  if tonumber(oldest[2]) <= now - 2 * account.span then
    forget(account, now - 2 * account.span)
  end
end

local function settle_window(account, head_at, permit)
  add_moment(account, ':r', head_at, permit)
  account.settled = account.settled + 1
end

local function give_back(account, permit)
  redis.call('ZREM', account.key .. ':s', permit)
  account.sent = account.sent - 1
end

local function oldest_counted(account, head_at)
  return math.max(head_at - caps.seconds * (1 - CLOCK_DRIFT), account.began_before)
end

local function least(account, settled, head_at)
  return 1 + math.max(0, settled - sent_until(account, oldest_counted(account, head_at)))
end

-- The server counted less than it must have: it has begun a fixed window anew.
local function begin_anew(account, head_at, missing)
  local low = '(' .. exact(oldest_counted(account, head_at))
  local found = redis.call('ZRANGEBYSCORE', account.key .. ':s', low, '+inf', 'WITHSCORES', 'LIMIT', missing - 1, 1)
  account.began_after = found[2] and tonumber(found[2]) or account.began_after
  account.began_before = head_at
end

local function drop_others(account, horizon, count)
  local batches = account.batches
  account.others = account.others - count
  for place = 1, #batches, 2 do
    if batches[place] > horizon then
      local taken = math.min(count, batches[place + 1])
      batches[place + 1] = batches[place + 1] - taken
      count = count - taken
    end
  end
end

local function learn(account, sent_at, head_at, remaining, now)
  if now - sent_at > caps.seconds or sent_at < account.began_before then
    return 0
  end
  local counted = math.max(1, account.limit - remaining)
  local settled = settled_before(account, sent_at)
  local missing = least(account, settled, head_at) - counted
  if missing > 0 then
    begin_anew(account, head_at, missing)
  end
  if sent_at >= account.read_at then
    account.read_at, account.read_left, account.read_gone = sent_at, remaining, gone(account, now)
  end
  local oldest = math.max(sent_at - account.span, account.began_after)
  local believed = foreign(account, now)
  local revealed = counted - (sent_until(account, head_at) - settled_before(account, oldest)) - believed
  if revealed > 0 and head_at >= account.lowered_at then
    table.insert(account.batches, now)
    table.insert(account.batches, revealed)
    account.others = account.others + revealed
    account.raised_at = head_at
    return revealed
  end
  if believed > 0 and sent_at >= account.raised_at then
    local excess = believed - math.max(0, counted - least(account, settled, head_at))
    if excess > 0 then
      drop_others(account, now - account.span, excess)
      account.lowered_at = sent_at
    end
  end
  return 0
end
