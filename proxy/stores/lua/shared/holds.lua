-- Holds: proxy/core/holds.py, over the hash <namespace>:holds. They have a place: the organisation's, where there
-- is one, then the app's, then the API's.

local HOLDS = KEYS[1] .. ':holds'

-- An organisation's name, or nil where only the app's limits count.
local function organisation(argument)
  return string.sub(argument, 1, 1) == '=' and string.sub(argument, 2) or nil
end

-- Names are preceded by their length where something follows, so that no two holds have one name.
local function hold_names(app, tenant, api)
  if tenant then
    return {'tenant:' .. #app .. ':' .. app .. ':' .. tenant, 'app:' .. app, 'api:' .. api}
  end
  return {'app:' .. app, 'api:' .. api}
end

local function read_holds(names)
  local holds = redis.call('HMGET', HOLDS, unpack(names))
  for place, packed in ipairs(holds) do
    holds[place] = packed and cmsgpack.unpack(packed)
  end
  return holds
end

local function write_hold(name, hold)
  redis.call('HSET', HOLDS, name, cmsgpack.pack(hold))
  redis.call('EXPIRE', HOLDS, RECORD_SECONDS)
end
