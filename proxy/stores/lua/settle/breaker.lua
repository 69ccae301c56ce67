-- Who keeps failing: proxy/core/limits/breaker.py. The last three who called in an API and were answered are in
--   <namespace>:called:<api>   who, when, who, when …, the latest last

local function latest_of(api)
  local packed = redis.call('GET', KEYS[1] .. ':called:' .. api)
  return packed and cmsgpack.unpack(packed) or {}
end

local function called(one, api, now)
  local latest = latest_of(api)
  for place = 1, #latest, 2 do
    if latest[place] == one then
      table.remove(latest, place)
      table.remove(latest, place)
      break
    end
  end
  table.insert(latest, one)
  table.insert(latest, now)
  if #latest > 2 * SEVERAL then
    table.remove(latest, 1)
    table.remove(latest, 1)
  end
  redis.call('SET', KEYS[1] .. ':called:' .. api, cmsgpack.pack(latest), 'EX', math.ceil(CALLED_SECONDS))
end

-- Count a failure of one organisation; whether those are too many.
local function failed(one)
  if redis.call('HLEN', FAILURES) >= COUNTED_MOST then
    redis.call('DEL', FAILURES)
  end
  local count = redis.call('HINCRBY', FAILURES, one, 1)
  redis.call('EXPIRE', FAILURES, RECORD_SECONDS)
  if count < BREAKER_FAILURES then
    return false
  end
  redis.call('HDEL', FAILURES, one)
  return true
end

-- Whether those who fail are so many that it is the API that does.
local function several(failing, count, api, now)
  local latest, recent = latest_of(api), 0
  for place = 1, #latest, 2 do
    if now - latest[place + 1] < CALLED_SECONDS then
      recent = recent + 1
      if not failing[latest[place]] then
        recent = -math.huge
      end
    end
  end
  return count >= SEVERAL or recent > 1
end

-- Count it for its API too; whether everybody's are too many.
local function failed_all(one, api, now)
  local packed = redis.call('HGET', FAILURES, api)
  local failing, sum, count = packed and cmsgpack.unpack(packed) or {}, 0, 0
  failing[one] = math.min(MOST_OF_ONE, (failing[one] or 0) + 1)
  for _, failures in pairs(failing) do
    sum, count = sum + failures, count + 1
  end
  if sum < BREAKER_FAILURES or not several(failing, count, api, now) then
    redis.call('HSET', FAILURES, api, cmsgpack.pack(failing))
    redis.call('EXPIRE', FAILURES, RECORD_SECONDS)
    return false
  end
  redis.call('HDEL', FAILURES, api)
  return true
end
