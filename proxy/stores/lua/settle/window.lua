-- How a minute's window gives places back, and what it learns from a response: proxy/core/limits/window.py.

local function sent_until(account, at)
  return account.sent - redis.call('ZCOUNT', account.key .. ':s', '(' .. exact(at), '+inf')
end

local function settle_window(account, head_at, permit)
  add_moment(account, ':r', head_at, permit)
  account.settled = account.settled + 1
end

local function give_back(account, permit)
  redis.call('ZREM', account.key .. ':s', permit)
  account[':s'] = NEVER -- where it was the only one, the set is made anew
  account.sent = account.sent - 1
end

local function oldest_counted(account, head_at)
  return math.max(head_at - MINUTE_SECONDS * (1 - CLOCK_DRIFT), account.began_before)
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
  if now - sent_at > MINUTE_SECONDS or sent_at < account.began_before then
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

-- Believe in nobody else: a call was let in, and nothing is known of them.
local function forget_others(account, sent_at, now)
  drop_others(account, now - account.span, foreign(account, now))
  account.raised_at, account.lowered_at = NEVER, sent_at
end

-- The server refused a call and says when it has room again.
local function expect(account, room_at, now)
  local vacant = vacated(account, now)
  if foreign(account, now) == 0 or (vacant and vacant <= room_at + RETRY_AFTER_UNIT) then
    return
  end
  local batches, earlier, place = account.batches, room_at - account.span, 1
  drop_others(account, now - account.span, 1)
  while batches[place] and batches[place] <= earlier do
    place = place + 2
  end
  table.insert(batches, place, 1)
  table.insert(batches, place, earlier)
  account.others = account.others + 1
end
