-- What a day's budget says to who wants a part of it, and how it is spent: proxy/core/limits/day.py.

local function day_earliest(account, now)
  local ask_again = math.max(now, account.asked_at + ASK_AGAIN_SECONDS)
  if not account.day_first or (account.said and account.said <= 0) then
    return ask_again
  end
  return math.min(ask_again, account.day_first + BUCKET_SECONDS + DAY_SECONDS)
end

local function day_dispatch(account, now)
  account.asked_at = now
  account.said = account.said and account.said - 1
  account.used = account.used + 1
  if account.day_began and now - account.day_began < BUCKET_SECONDS then
    account.day_count = account.day_count + 1
    return
  end
  if account.day_began then
    redis.call('RPUSH', account.key .. ':d', exact(account.day_began) .. ' ' .. account.day_count)
    redis.call('EXPIRE', account.key .. ':d', ACCOUNT_SECONDS)
  end
  account.day_began, account.day_count = now, 1
  account.day_first = account.day_first or now
end
