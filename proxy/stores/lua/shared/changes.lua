-- What is done to holds and told to everybody; the breaker's counts of failures are in <namespace>:failures, by the
-- names of the holds that they lead to.

local EVENTS, FAILURES = KEYS[1] .. ':events', KEYS[1] .. ':failures'

local function change(action, place, hold)
  return {action = action, place = place, reason = hold.reason, ends = hold.ends, probe = hold.probe}
end

local function end_hold(changes, name, place, old, action)
  redis.call('HDEL', HOLDS, name)
  changes[#changes + 1] = change(action, place, old)
end

-- Tell everybody, in the name of `owner`: a replica knows already what it did itself.
local function publish_hold(owner, scope, app, tenant, api, what, now)
  local of_all, of_one = scope == 'api' or scope == 'host', scope == 'tenant' or scope == 'tenant_api'
  redis.call('PUBLISH', EVENTS, cjson.encode({
    'hold', owner, what.action, scope, of_all and '' or app, of_one and tenant or '',
    (scope == 'api' or scope == 'tenant_api') and api or '', what.reason, math.max(0, what.ends - now),
    what.probe and 1 or 0,
  }))
end
