-- What an answer makes of holds: proxy/core/limits/holds.py.

local function backoff(failures, random)
  local longest = math.min(BACKOFF * 2 ^ math.min(failures, 32), BACKOFF_MAX)
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
    return math.max(OFFLINE, announced)
  elseif rule.seconds == 'backoff' then
    return math.max(backoff(failures, answer.random), announced)
  end
  return tonumber(rule.seconds)
end

-- Begin a hold, begin it anew, or let another answer lengthen it.
local function hold(changes, name, place, old, reason, ends, is_probed, newer, now)
  local new = {reason = reason, since = now, ends = ends, probe = is_probed, failures = 0}
  local action = old and 'extended' or 'begun'
  if old and newer then
    new.failures = old.failures + 1
  elseif old and ends > old.ends then
    new.since, new.failures, new.probing = old.since, old.failures, old.probing
    new.silent_at, new.failed_for = old.silent_at, old.failed_for
  elseif old then
    return
  end
  write_hold(name, new)
  changes[#changes + 1] = change(action, place, new)
end

-- Whether a probe's failure begins the hold anew: an API's only where those of two organisations failed one
-- after the other.
local function failed_again(name, old, one)
  local scope = scope_of(name)
  if scope == 'api' and (not old.failed_for or old.failed_for == one) then
    old.failed_for = one
    return false
  end
  return scope == 'api' or scope == 'tenant_api'
end

-- Whether an answer shows that what was held works. The host works wherever something was sent to it.
local function shows_health(name, answer)
  return answer.healthy or (scope_of(name) == 'host' and answer.sent)
end

-- Whom the answer's rule holds; nobody where it needs a Retry-After that the response did not carry.
local function is_held(rule, name, answer)
  return rule.scope == scope_of(name) and (rule.seconds ~= 'retry_after' or answer.retry_after ~= nil)
end

-- Let one attempt's answer begin, extend or end holds; returns the changes.
local function settle_holds(names, permit, sent_at, answer, now)
  local changes, rule = {}, answer.rule
  local one, api = #names - 3, #names - 1
  if answer.sent then
    called(names[one], names[api], now)
  end
  if answer.healthy then
    redis.call('HDEL', FAILURES, names[one], names[api])
  end
  local holds = read_holds(names)
  for place, old in ipairs(holds) do
    local name = names[place]
    old = old or nil
    local probing = old ~= nil and old.probing == permit
    local newer = old ~= nil and (probing or sent_at > old.since)
    local failures = old and old.failures + (newer and 1 or 0) or 0
    if is_held(rule, name, answer) then
      local ends = now + hold_seconds(rule, failures, answer)
      hold(changes, name, place, old, rule.reason, ends, rule.probe, newer, now)
    elseif old and probing and answer.breaks and failed_again(name, old, names[one]) then
      hold(changes, name, place, old, old.reason, now + backoff(failures, answer.random), old.probe, newer, now)
    elseif newer and shows_health(name, answer) then
      end_hold(changes, name, place, old, 'ended')
    elseif old and probing then
      old.probing = nil
      write_hold(name, old)
      changes[#changes + 1] = change('inconclusive', place, old)
    end
  end
  if answer.breaks and not answer.again then
    local ends = now + backoff(0, answer.random)
    if not holds[one] and failed(names[one]) then
      hold(changes, names[one], one, nil, FAILING, ends, true, false, now)
    end
    if not holds[api] and failed_all(names[one], names[api], now) then
      hold(changes, names[api], api, nil, FAILING, ends, true, false, now)
    end
  end
  return changes
end
