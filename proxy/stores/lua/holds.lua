-- Holds: proxy/core/holds.py, over the hash <namespace>:holds, and the breaker's counts in <namespace>:failures.

local HOLDS, FAILURES = KEYS[1] .. ':holds', KEYS[1] .. ':failures'

-- Names are preceded by their length where something follows, so that no two holds have one name.
local function hold_key(scope, app, tenant, api)
  if scope == 'tenant' then
    return {scope = scope, name = 'tenant:' .. #app .. ':' .. app .. ':' .. tenant, app = app, tenant = tenant}
  elseif scope == 'app' then
    return {scope = scope, name = 'app:' .. app, app = app}
  end
  return {scope = scope, name = 'api:' .. api, api = api}
end

local function hold_keys(app, tenant, api)
  local keys = {hold_key('app', app), hold_key('api', app, tenant, api)}
  if tenant then
    table.insert(keys, 1, hold_key('tenant', app, tenant))
  end
  return keys
end

local function read_holds(keys)
  local names = {}
  for place, key in ipairs(keys) do
    names[place] = key.name
  end
  local values = redis.call('HMGET', HOLDS, unpack(names))
  local holds = {}
  for place in ipairs(keys) do
    holds[place] = values[place] and cmsgpack.unpack(values[place])
  end
  return holds
end

local function write_hold(key, hold)
  redis.call('HSET', HOLDS, key.name, cmsgpack.pack(hold))
  redis.call('EXPIRE', HOLDS, RECORD_SECONDS)
end

-- Drop what is over and nobody asked about, of a sample: each hold that is written lets all live longer.
local function forget_holds(now)
  local sample = redis.call('HRANDFIELD', HOLDS, HOLDS_SAMPLED, 'WITHVALUES')
  for place = 1, #sample, 2 do
    local hold = cmsgpack.unpack(sample[place + 1])
    if hold.ends < now - (hold.probe and DAY_SECONDS or 0) then
      redis.call('HDEL', HOLDS, sample[place])
    end
  end
end

-- The hold that stops a call, the longest first: its place among `keys`.
local function blocking(keys, holds, now)
  local worst
  for place, hold in ipairs(holds) do
    if hold and hold.ends <= now and not hold.probe then
      redis.call('HDEL', HOLDS, keys[place].name)
      holds[place] = false
    elseif hold and (hold.ends > now or hold.probing) then
      if not worst or hold.ends > holds[worst].ends then
        worst = place
      end
    end
  end
  return worst
end

local function probe(keys, holds, permit)
  local probed = {}
  for place, hold in ipairs(holds) do
    if hold then
      hold.probing = permit
      write_hold(keys[place], hold)
      probed[#probed + 1] = place - 1
    end
  end
  return table.concat(probed, ' ')
end

local function backoff(failures, random)
  local longest = math.min(times.backoff * 2 ^ math.min(failures, 32), times.backoff_max)
  return longest * (0.5 + random / 2)
end

local function hold_seconds(rule, failures, answer)
  local announced = 0
  if answer.retry_after then
    announced = math.min(answer.retry_after, LONGEST_HOLD_SECONDS) + RESET_MARGIN_SECONDS
  end
  if rule.seconds == 'retry_after' then
    return announced
  elseif rule.seconds == 'offline' then
    return math.max(times.offline, announced)
  elseif rule.seconds == 'backoff' then
    return math.max(backoff(failures, answer.random), announced)
  end
  return tonumber(rule.seconds)
end

local function change(action, place, hold)
  return {action = action, place = place, reason = hold.reason, ends = hold.ends, probe = hold.probe}
end

-- Begin a hold, begin it anew, or let another answer lengthen it.
local function hold(changes, key, place, old, reason, ends, is_probed, newer, now)
  local new = {reason = reason, since = now, ends = ends, probe = is_probed, failures = 0}
  local action = old and 'extended' or 'begun'
  if old and newer then
    new.failures = old.failures + 1
  elseif old and ends > old.ends then
    new.since, new.failures, new.probing = old.since, old.failures, old.probing
  elseif old then
    return
  end
  write_hold(key, new)
  changes[#changes + 1] = change(action, place, new)
end

local function count_failure(changes, key, place, answer, now)
  local count = redis.call('HINCRBY', FAILURES, key.api, 1)
  redis.call('EXPIRE', FAILURES, RECORD_SECONDS)
  if count >= BREAKER_FAILURES then
    redis.call('HDEL', FAILURES, key.api)
    hold(changes, key, place, nil, FAILING, now + backoff(0, answer.random), true, false, now)
  end
end

local function end_hold(changes, key, place, old, action)
  redis.call('HDEL', HOLDS, key.name)
  changes[#changes + 1] = change(action, place, old)
end

-- Whom the answer's rule holds; nobody where it needs a Retry-After that the response did not carry.
local function is_held(rule, key, answer)
  return rule.scope == key.scope and (rule.seconds ~= 'retry_after' or answer.retry_after ~= nil)
end

-- Let one attempt's answer begin, extend or end holds; returns the changes.
local function settle_holds(keys, permit, sent_at, answer, now)
  local changes, rule = {}, answer.rule
  for place, old in ipairs(read_holds(keys)) do
    local key = keys[place]
    old = old or nil
    local probing = old ~= nil and old.probing == permit
    local newer = old ~= nil and (probing or sent_at > old.since)
    local failures = old and old.failures + (newer and 1 or 0) or 0
    local breaks = answer.breaks and key.scope == 'api'
    if is_held(rule, key, answer) then
      local ends = now + hold_seconds(rule, failures, answer)
      hold(changes, key, place, old, rule.reason, ends, rule.probe, newer, now)
    elseif old and probing and breaks then
      hold(changes, key, place, old, old.reason, now + backoff(failures, answer.random), old.probe, newer, now)
    elseif old and answer.healthy and newer then
      end_hold(changes, key, place, old, 'ended')
    elseif old and probing then
      old.probing = nil
      write_hold(key, old)
      changes[#changes + 1] = change('inconclusive', place, old)
    elseif breaks and not old then
      count_failure(changes, key, place, answer, now)
    end
    if answer.healthy and key.scope == 'api' then
      redis.call('HDEL', FAILURES, key.api)
    end
  end
  return changes
end

-- Tell everybody, in the name of `owner`: a replica knows already what it did itself.
local function publish_hold(owner, key, what, now)
  local seconds = math.max(0, what.ends - now)
  redis.call('PUBLISH', EVENTS, cjson.encode({
    'hold', owner, what.action, key.scope, key.app or '', key.tenant or '', key.api or '', what.reason,
    seconds, what.probe and 1 or 0,
  }))
end
