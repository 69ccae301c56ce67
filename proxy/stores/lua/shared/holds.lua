-- Holds: proxy/core/limits/holds.py, over the hash <namespace>:holds. They have a place, as in `keys_of` of
-- proxy/core/model.py: the organisation's, where there is one, its use of the API, the app's, the API's, the host's.

local HOLDS = KEYS[1] .. ':holds'

-- An organisation's name, or nil where only the app's limits count.
local function organisation(argument)
  return string.sub(argument, 1, 1) == '=' and string.sub(argument, 2) or nil
end

-- Names are preceded by their length where something follows, so that no two holds have one name.
local function hold_names(app, tenant, api)
  local own = #app .. ':' .. app .. ':'
  local of_api = 'tenant_api:' .. own .. #(tenant or '') .. ':' .. (tenant or '') .. ':' .. api
  if tenant then
    return {'tenant:' .. own .. tenant, of_api, 'app:' .. app, 'api:' .. api, 'host:'}
  end
  return {of_api, 'app:' .. app, 'api:' .. api, 'host:'}
end

local function scope_of(name)
  return string.match(name, '[%l_]+')
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
