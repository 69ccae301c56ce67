-- A minute's window and whom it belongs to: proxy/core/window.py, over the keys
--   <account>     hash: FIELDS below; absent fields have the value that a new window has
--   <account>:s   sorted set: when each call was sent, by permit
--   <account>:r   sorted set: when each response head, or failure, was read, by permit
-- Counts stand in the hash, so what has left the sets, be it by age or by expiry, stays counted.

local FIELDS = {
  'sent', 'settled', 'others', 'others_gone', 'batches', 'read_at', 'read_left', 'read_gone', 'raised_at',
  'lowered_at', 'sent_at', 'began_after', 'began_before', -- the window
  'in_flight', 'said', 'used', 'asked_at', 'freed_at', 'awaited', -- an organisation's
}
local ZERO = {sent = true, settled = true, others = true, others_gone = true, read_gone = true, in_flight = true, used = true}
local NO_TIME = {'read_at', 'raised_at', 'lowered_at', 'sent_at', 'began_after', 'began_before', 'asked_at', 'freed_at', 'awaited'}

local function exact(number)
  return string.format('%.17g', number)
end

local function read_account(key, limit)
  local account = {key = key, limit = limit, span = caps.seconds * (1 + CLOCK_DRIFT), old = {}}
  local values = redis.call('HMGET', key, unpack(FIELDS))
  for place, field in ipairs(FIELDS) do
    local value = values[place] or nil
    if value and field ~= 'batches' then
      value = tonumber(value)
    end
    account[field] = value
    account.old[field] = value
    if ZERO[field] then
      account[field] = value or 0
    end
  end
  account.known = account.old.sent ~= nil
  for _, field in ipairs(NO_TIME) do
    account[field] = account[field] or -math.huge
  end
  account.read_left = account.read_left or limit
  return account
end

local function write_account(account)
  local changed = {}
  for _, field in ipairs(FIELDS) do
    local value = account[field]
    if value ~= account.old[field] and value ~= nil and value ~= -math.huge then
      changed[#changed + 1] = field
      changed[#changed + 1] = value
    end
  end
  if #changed > 0 then
    redis.call('HSET', account.key, unpack(changed))
    redis.call('EXPIRE', account.key, ACCOUNT_SECONDS)
  end
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

-- Calls of others, in batches as they were inferred: "when count when count …", oldest first.
local function batches_of(account)
  local batches = {}
  for at, count in string.gmatch(account.batches or '', '(%S+) (%S+)') do
    batches[#batches + 1] = {at = tonumber(at), count = tonumber(count)}
  end
  return batches
end

local function keep_batches(account, batches)
  local parts = {}
  for _, batch in ipairs(batches) do
    parts[#parts + 1] = exact(batch.at) .. ' ' .. batch.count
  end
  account.batches = table.concat(parts, ' ')
end

local function others_until(account, at)
  local count = account.others_gone
  for _, batch in ipairs(batches_of(account)) do
    if batch.at <= at then
      count = count + batch.count
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
  local set, low = account.key .. ':r', '(' .. exact(horizon)
  local others = 0
  for _, batch in ipairs(batches_of(account)) do
    if batch.at > horizon then
      local ours = redis.call('ZCOUNT', set, low, '(' .. exact(batch.at))
      if place < ours + others then
        break
      elseif place < ours + others + batch.count then
        return batch.at
      end
      others = others + batch.count
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
  local kept = {}
  for _, batch in ipairs(batches_of(account)) do
    if batch.at > horizon then
      kept[#kept + 1] = batch
    else
      account.others_gone = account.others_gone + batch.count
    end
  end
  if account.batches then
    keep_batches(account, kept)
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
  account.others = account.others - count
  local batches = batches_of(account)
  for _, batch in ipairs(batches) do
    if batch.at > horizon then
      local taken = math.min(count, batch.count)
      batch.count = batch.count - taken
      count = count - taken
    end
  end
  keep_batches(account, batches)
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
  local revealed = counted - (sent_until(account, head_at) - settled_before(account, oldest)) - foreign(account, now)
  if revealed > 0 and head_at >= account.lowered_at then
    account.batches = (account.batches or '') .. ' ' .. exact(now) .. ' ' .. revealed
    account.others = account.others + revealed
    account.raised_at = head_at
    return revealed
  end
  local believed = foreign(account, now)
  if believed > 0 and sent_at >= account.raised_at then
    local excess = believed - math.max(0, counted - least(account, settled, head_at))
    if excess > 0 then
      drop_others(account, now - account.span, excess)
      account.lowered_at = sent_at
    end
  end
  return 0
end
