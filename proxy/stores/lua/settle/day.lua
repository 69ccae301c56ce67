-- How a day's budget is given back, and what it learns from a response: proxy/core/limits/day.py.

local function keep_bucket(account, place, bucket)
  redis.call('LSET', account.key .. ':d', place, exact(bucket.began) .. ' ' .. bucket.count)
end

local function day_give_back(account)
  account.said = account.said and account.said + 1
  if account.day_count > 0 then
    account.day_count = account.day_count - 1
    account.used = account.used - 1
    return
  end
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
  while calls > 0 and account.day_first do
    local newest = account.day_first == account.day_began
    local bucket = not newest and bucket_at(account, 0)
    local count = newest and account.day_count or bucket and bucket.count or 0
    if calls >= count then
      drop_oldest(account)
    else
      account.used = account.used - calls
      if newest then
        account.day_count = count - calls
      else
        bucket.count = count - calls
        keep_bucket(account, 0, bucket)
      end
    end
    calls = calls - math.min(calls, count)
  end
end

-- Another day has begun, of which the server has said nothing yet.
local function day_begin_anew(account)
  redis.call('DEL', account.key .. ':d')
  account.said, account.shown, account.used = nil, nil, 0
  account.day_count, account.day_first, account.day_began = 0, nil, nil
end

-- The next number of one digit and zeros.
local function rounded(calls)
  calls = math.max(1, calls)
  local unit = 10 ^ (#string.format('%d', calls) - 1)
  return math.ceil(calls / unit) * unit
end

local function day_learn(account, remaining, unaccounted_for)
  local fewest = remaining - unaccounted_for
  local anew = not account.said or account.said < fewest
  if not account.said or account.said > remaining then
    account.said = remaining
  elseif account.said < fewest then
    day_forget(account, fewest - account.said)
    account.said = fewest
  end
  local sent = math.max(account.used, unaccounted_for + 1)
  local shown = rounded(fewest + sent)
  if remaining > 0 and (shown > day_limit(account) or (anew and shown <= remaining + sent)) then
    account.shown = shown
  end
end
