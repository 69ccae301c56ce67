-- What the caller said, and what time it is. Constants in capitals are the core's, written before this.

-- The server's clock, the only one: seconds since 1970.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local COMMON = {
  'operation', 'replica', 'minute', 'seconds', 'day', 'concurrent', 'app_minute', 'offline', 'backoff', 'backoff_max',
}
local OWN = {
  acquire = {'number', 'app', 'tenant', 'api', 'more', 'epoch', 'void_after'},
  settle = {
    'number', 'app', 'tenant', 'api', 'sent_age', 'head_age', 'sent', 'minute_left', 'day_left', 'app_minute_left',
    'retry_after', 'random', 'healthy', 'breaks', 'scope', 'reason', 'rule_seconds', 'probe',
  },
  beat = {'lease', 'held'},
  clear = {'scope', 'app', 'tenant', 'api'},
}

local given = {}
for place, name in ipairs(COMMON) do
  given[name] = ARGV[place]
end
for place, name in ipairs(OWN[given.operation]) do
  given[name] = ARGV[#COMMON + place]
end

local replica = given.replica
local caps = {
  minute = tonumber(given.minute),
  seconds = tonumber(given.seconds),
  day = tonumber(given.day),
  concurrent = tonumber(given.concurrent),
  app_minute = tonumber(given.app_minute),
}
local times = {
  offline = tonumber(given.offline),
  backoff = tonumber(given.backoff),
  backoff_max = tonumber(given.backoff_max),
}
local EVENTS = KEYS[1] .. ':events'

-- As a reply it is exact; nil and what is no number are empty.
local function said(number)
  return number and string.format('%.17g', number) or ''
end

-- An organisation's name, or nil where only the app's limits count.
local function tenant_of(argument)
  return string.sub(argument, 1, 1) == '=' and string.sub(argument, 2) or nil
end
