-- Accounts: `Accounts` of proxy/core/limits/accounts.py and a minute's window of proxy/core/limits/window.py, over the keys
--   <namespace>:t:<length of app>:<app>:<tenant>   an organisation's: counts and times of everything, packed
--   <namespace>:a:<app>                            an app's, which is a window alone
--   <account>:s   sorted set: when each call was sent, by permit
--   <account>:r   sorted set: when each response head, or failure, was read, by permit
-- Counts stand in the first, so what has left the sets, be it by age or by expiry, stays counted.

local NEVER, NOTHING = -math.huge, cmsgpack.pack(nil)

local function opened(key, packed, limit)
  local sent, settled, passed, oldest, sent_last, settled_last, others, others_gone, batches, read_at, read_left,
    read_gone, raised_at, lowered_at, sent_at, began_after, began_before, in_flight, window, had, freed_at, awaited,
    used, said, asked_at, day_first, day_began, day_count, shown = cmsgpack.unpack(packed or NOTHING)
  return {
    key = key, limit = limit, known = packed and true, span = SPAN,
    sent = sent or 0, settled = settled or 0,
    passed = passed or 0,         -- so many at least were settled longer than a span ago
    oldest = oldest or NEVER,     -- nothing in `:s` is older
    [':s'] = sent_last or NEVER,  -- until then the set need not be told to expire later
    [':r'] = settled_last or NEVER,
    others = others or 0, others_gone = others_gone or 0,
    batches = batches or {},      -- when, count, when, count …
    read_at = read_at or NEVER, read_left = read_left or limit, read_gone = read_gone or 0,
    raised_at = raised_at or NEVER, lowered_at = lowered_at or NEVER, sent_at = sent_at or NEVER,
    began_after = began_after or NEVER, began_before = began_before or NEVER,
    in_flight = in_flight or 0,   -- from here on an organisation's alone
    window = window, had = had, freed_at = freed_at or NEVER, awaited = awaited or NEVER, -- turns.lua
    used = used or 0, said = said, asked_at = asked_at or NEVER,                          -- day.lua
    day_first = day_first, day_began = day_began, day_count = day_count or 0, shown = shown,
  }
end

-- An organisation's account (nil where only the app's limits count), the app's, and the epoch.
local function read_accounts(app, tenant)
  local of_app = KEYS[1] .. ':a:' .. app
  local of_tenant = tenant and KEYS[1] .. ':t:' .. #app .. ':' .. app .. ':' .. tenant
  local packed = redis.call('MGET', of_app, KEYS[1] .. ':epoch', of_tenant or of_app)
  return tenant and opened(of_tenant, packed[3], CAP_MINUTE), opened(of_app, packed[1], CAP_APP_MINUTE), packed[2]
end

local function write_account(a)
  local packed = cmsgpack.pack(
    a.sent, a.settled, a.passed, a.oldest, a[':s'], a[':r'], a.others, a.others_gone, a.batches, a.read_at, a.read_left,
    a.read_gone, a.raised_at, a.lowered_at, a.sent_at, a.began_after, a.began_before, a.in_flight, a.window, a.had,
    a.freed_at, a.awaited, a.used, a.said, a.asked_at, a.day_first, a.day_began, a.day_count, a.shown
  )
  redis.call('SET', a.key, packed, 'EX', ACCOUNT_SECONDS)
end

local function add_moment(account, set, at, permit)
  redis.call('ZADD', account.key .. set, at, permit)
  if at > account[set] then
    redis.call('EXPIRE', account.key .. set, SET_SECONDS)
    account[set] = at + account.span
  end
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
  account.passed = settled_until(account, now - account.span)
  return account.sent - account.passed + foreign(account, now)
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

-- What our own calls leave.
local function left_own(account, now)
  account.passed = settled_until(account, now - account.span)
  return account.limit - account.sent + account.passed
end

-- Exact where fewer than `enough` are free. Else it can be too few: what was true a moment ago is not counted anew.
local function free(account, now, enough)
  local company = now - account.raised_at <= COMPANY_WINDOWS * account.span
  local least = account.limit - account.sent + account.passed - account.others + account.others_gone
  if least >= enough and not company then
    return least
  end
  local left = account.limit - occupied(account, now)
  if company then
    left = math.min(left, unclaimed(account, now))
  end
  return math.max(0, left)
end

-- When the call after `place` others leaves, of those whose end is known.
local function leaving(account, place, horizon, alone)
  local set, low, batches = account.key .. ':r', '(' .. exact(horizon), alone and {} or account.batches
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

-- When a call can be sent by the count of what is known to leave, or (`alone`) of ours alone; nil where only a
-- response can tell.
local function vacated(account, now, alone)
  local left = alone and left_own(account, now) or account.limit - occupied(account, now)
  if left > 0 then
    return now
  end
  local at = leaving(account, math.max(0, -left), now - account.span, alone)
  return at and at + account.span
end
