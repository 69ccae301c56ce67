-- The decision over everything that can say no: proxy/core/limits/decision.py and `SharedLimits` of proxy/core/limits/sharing.py.

local replica, number, app_name, tenant_name, api, more, epoch, void_after = unpack(ARGV)
tenant_name = organisation(tenant_name)

local function denied(limit, at, place)
  return {granted = false, limit = limit, at = at, place = place}
end

-- What the limits of an organisation say, nil is yes; and how many calls are free in its minute, up to what
-- makes a difference. Of what is `asked`, a probe finds out.
local function refused(tenant, asked, now)
  if tenant.in_flight >= CAP_CONCURRENT then
    return denied('concurrent')
  end
  local left = asked.minute and left_own(tenant, now) or free(tenant, now, CAP_CONCURRENT + 1)
  if left <= 0 then
    return denied('minute', earliest(tenant, now, asked.minute))
  end
  if not asked.day and day_left(tenant, now) <= 0 then
    local at = day_earliest(tenant, now)
    return at > now and denied('day', at) or nil, left
  end
  return nil, left
end

local function others_first(tenant, left, now)
  local first = ahead(tenant, replica, now)
  local places = CAP_CONCURRENT - tenant.in_flight
  if first > 0 and first >= math.min(left, places) then
    return denied(left <= places and 'minute' or 'concurrent', now + GRACE_SECONDS)
  end
  return nil
end

-- Charge an organisation; what the next call would be told, where that is known to be no.
local function charge(tenant, asked, left, permit, now)
  dispatch(tenant, now, permit)
  day_dispatch(tenant, now)
  tenant.in_flight = tenant.in_flight + 1
  if tenant.in_flight >= CAP_CONCURRENT then
    return denied('concurrent')
  elseif left == 1 then
    return denied('minute', earliest(tenant, now, asked.minute))
  end
  return nil
end

local function grant(tenant, app, asked, left, names, holds, now)
  local permit = replica .. ':' .. number
  dispatch(app, now, permit)
  local following = tenant and charge(tenant, asked, left, permit, now) or nil
  local record = cmsgpack.pack({app_name, tenant_name or false, api, now})
  redis.call('HSET', permits_of(replica), number, record)
  return {granted = true, probes = probe(names, holds, permit, now), following = following}
end

local function decide(tenant, app, now)
  local names = hold_names(app_name, tenant_name, api)
  local holds = read_holds(names)
  local held = blocking(names, holds, now)
  if held then
    return denied(holds[held].reason, stops_until(holds[held], now), held)
  end
  local asked, denial, left = reasons(holds), nil, nil
  if tenant then
    denial, left = refused(tenant, asked, now)
  end
  if denial then
    return denial
  elseif (asked.appminute and left_own(app, now) or free(app, now, 1)) <= 0 then
    return denied('appminute', earliest(app, now, asked.appminute))
  end
  denial = tenant and others_first(tenant, left, now)
  return denial or grant(tenant, app, asked, left, names, holds, now)
end

-- Remember who waits, and until when.
local function take_turn(tenant, decision, now)
  if not decision.granted then
    if not decision.place and (decision.limit == 'minute' or decision.limit == 'concurrent') then
      awaits(tenant, replica, now, decision.at or now + POLL_SECONDS)
    end
  elseif more == '0' then
    has_had(tenant, replica, now)
  elseif decision.following then
    has_had(tenant, replica, now, decision.following.at or now + POLL_SECONDS)
  else
    has_had(tenant, replica, now, now)
  end
end

-- Of a permit after which there is more room there is nothing to say but when.
local function decision_reply(decision, now)
  if decision.granted and not decision.following and decision.probes == '' then
    return exact(now)
  end
  local denial = decision.granted and decision.following or decision
  return {
    decision.granted and 'granted' or 'denied', exact(now), denial.limit or '', said(denial.at and denial.at - now),
    decision.granted and decision.probes or said(denial.place and denial.place - 1),
  }
end

local now = clock()
-- Nobody waits for the answer any more; or the question is meant for a state that is no more.
if void_after ~= '' and now > tonumber(void_after) then
  return {'void', exact(now), 'late'}
end
local tenant, app, known = read_accounts(app_name, tenant_name)
if epoch ~= '' and epoch ~= known then
  return {'void', exact(now), 'epoch'}
end
renew(replica, now + LEASE_SECONDS)
local decision = decide(tenant, app, now)
if tenant then
  take_turn(tenant, decision, now)
  write_account(tenant)
end
write_account(app)
return decision_reply(decision, now)
