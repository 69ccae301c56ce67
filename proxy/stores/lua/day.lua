-- A day's budget: proxy/core/day.py, over the list <account>:d of "began count", oldest first.

local function bucket_at(account, place)
  local text = redis.call('LINDEX', account.key .. ':d', place)
  if not text then
    return nil
  end
  local began, count = string.match(text, '(%S+) (%S+)')
  return {began = tonumber(began), count = tonumber(count)}
end

local function keep_bucket(account, place, bucket)
  redis.call('LSET', account.key .. ':d', place, exact(bucket.began) .. ' ' .. bucket.count)
end

local function day_left(account, now)
  local first = bucket_at(account, 0)
  while first and now - first.began >= BUCKET_SECONDS + DAY_SECONDS do
    redis.call('LPOP', account.key .. ':d')
    account.used = account.used - first.count
    first = bucket_at(account, 0)
  end
  if not first then
    account.used = 0 -- the list can expire some minutes before the account does
  end
  return math.min(caps.day - account.used, account.said or math.huge)
end

local function day_earliest(account, now)
  if day_left(account, now) > 0 then
    return now
  end
  local ask_again = math.max(now, account.asked_at + ASK_AGAIN_SECONDS)
  local first = bucket_at(account, 0)
  if not first or (account.said and account.said <= 0) then
    return ask_again
  end
  return math.min(ask_again, first.began + BUCKET_SECONDS + DAY_SECONDS)
end

local function day_dispatch(account, now)
  account.asked_at = now
  account.said = account.said and account.said - 1
  account.used = account.used + 1
  local last = bucket_at(account, -1)
  if last and now - last.began < BUCKET_SECONDS then
    last.count = last.count + 1
    keep_bucket(account, -1, last)
  else
    redis.call('RPUSH', account.key .. ':d', exact(now) .. ' 1')
    redis.call('EXPIRE', account.key .. ':d', ACCOUNT_SECONDS)
  end
end

local function day_give_back(account)
  account.said = account.said and account.said + 1
  local place = -1
  local bucket = bucket_at(account, place)
  while bucket and bucket.count == 0 do
    place = place - 1
    bucket = bucket_at(account, place)
  end
  if bucket then
    bucket.count = bucket.count - 1
    keep_bucket(account, place, bucket)
    account.used = account.used - 1
  end
end

local function day_forget(account, calls)
  local first = bucket_at(account, 0)
  while calls > 0 and first do
    local taken = math.min(calls, first.count)
    first.count = first.count - taken
    account.used = account.used - taken
    calls = calls - taken
    if first.count > 0 then
      keep_bucket(account, 0, first)
    else
      redis.call('LPOP', account.key .. ':d')
      first = bucket_at(account, 0)
    end
  end
end

local function day_learn(account, remaining, unaccounted_for)
  local fewest = remaining - unaccounted_for
  if not account.said or account.said > remaining then
    account.said = remaining
  elseif account.said < fewest then
    day_forget(account, fewest - account.said)
    account.said = fewest
  end
end
