-- A day's budget: proxy/core/limits/day.py. The newest bucket is the account's `day_began` and `day_count`; those before
-- it are the list <account>:d of "began count", oldest first. `day_first` is when the oldest of all began.

local function day_limit(account)
  return account.shown and (DAY_GROWS == 1 and account.shown or math.min(account.shown, CAP_DAY)) or CAP_DAY
end

local function bucket_at(account, place)
  local text = redis.call('LINDEX', account.key .. ':d', place)
  if not text then
    return nil
  end
  local began, count = string.match(text, '(%S+) (%S+)')
  return {began = tonumber(began), count = tonumber(count)}
end

local function drop_oldest(account)
  if account.day_first == account.day_began then
    account.used, account.day_count, account.day_first, account.day_began = 0, 0, nil, nil
    return
  end
  local oldest = bucket_at(account, 0)
  redis.call('LPOP', account.key .. ':d')
  local following = bucket_at(account, 0)
  account.day_first = following and following.began or account.day_began
  -- The list expires where nothing was added to it for more than a day: all of it is over.
  account.used = oldest and account.used - oldest.count or account.day_count
end

local function day_left(account, now)
  while account.day_first and now - account.day_first >= BUCKET_SECONDS + DAY_SECONDS do
    drop_oldest(account)
  end
  return math.min(day_limit(account) - account.used, account.said or math.huge)
end
