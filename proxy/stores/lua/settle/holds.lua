-- What an answer makes of holds: proxy/core/holds.py.

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
  elseif old then
    return
  end
  write_hold(name, new)
  changes[#changes + 1] = change(action, place, new)
end

local function count_failure(changes, name, place, answer, now)
  local count = redis.call('HINCRBY', FAILURES, name, 1)
  redis.call('EXPIRE', FAILURES, RECORD_SECONDS)
  if count >= BREAKER_FAILURES then
    redis.call('HDEL', FAILURES, name)
    hold(changes, name, place, nil, FAILING, now + backoff(0, answer.random), true, false, now)
  end
end

-- Whom the answer's rule holds; nobody where it needs a Retry-After that the response did not carry.
local function is_held(rule, name, answer)
  return rule.scope == scope_of(name) and (rule.seconds ~= 'retry_after' or answer.retry_after ~= nil)
end

-- Let one attempt's answer begin, extend or end holds; returns the changes.
local function settle_holds(names, permit, sent_at, answer, now)
  local changes, rule = {}, answer.rule
  for place, old in ipairs(read_holds(names)) do
    local name = names[place]
    old = old or nil
    local probing = old ~= nil and old.probing == permit
    local newer = old ~= nil and (probing or sent_at > old.since)
    local failures = old and old.failures + (newer and 1 or 0) or 0
    local of_api = place == #names
    local breaks = answer.breaks and of_api
    if is_held(rule, name, answer) then
      local ends = now + hold_seconds(rule, failures, answer)
      hold(changes, name, place, old, rule.reason, ends, rule.probe, newer, now)
    elseif old and probing and breaks then
      hold(changes, name, place, old, old.reason, now + backoff(failures, answer.random), old.probe, newer, now)
    elseif old and answer.healthy and newer then
      end_hold(changes, name, place, old, 'ended')
    elseif old and probing then
      old.probing = nil
      write_hold(name, old)
      changes[#changes + 1] = change('inconclusive', place, old)
    elseif breaks and not old then
      count_failure(changes, name, place, answer, now)
    end
    if answer.healthy and of_api then
      redis.call('HDEL', FAILURES, name)
    end
  end
  return changes
end

