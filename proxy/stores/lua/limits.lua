-- The decision over everything that can say no, and its settlement: proxy/core/limits.py and `SharedLimits`
-- of proxy/core/sharing.py, over the keys
--   <namespace>:t:<length of app>:<app>:<tenant>   an organisation's account, see window.lua
--   <namespace>:a:<app>                            an app's
--   <namespace>:permits:<replica>                  hash: its open permits, by number
--   <namespace>:replicas                           sorted set: when each replica's lease ends
--   <namespace>:epoch                              names this state; another one means that all was lost
-- All are made from KEYS[1], whose braces keep them in one slot of a cluster, and all expire.

local REPLICAS, EPOCH = KEYS[1] .. ':replicas', KEYS[1] .. ':epoch'

local function permits_of(name)
  return KEYS[1] .. ':permits:' .. name
end

local function tenant_account(app, tenant)
  return tenant and read_account(KEYS[1] .. ':t:' .. #app .. ':' .. app .. ':' .. tenant, caps.minute)
end

local function app_account(app)
  return read_account(KEYS[1] .. ':a:' .. app, caps.app_minute)
end

local function renew(now, seconds)
  if redis.call('ZADD', REPLICAS, now + seconds, replica) == 1 then
    redis.call('EXPIRE', REPLICAS, RECORD_SECONDS)
  end
end

local function denied(limit, at, place)
  return {granted = false, limit = limit, at = at, place = place}
end

-- Why a question shall not be answered: nobody waits for it, or it is meant for a state that is no more.
local function void(now)
  local void_after = tonumber(given.void_after)
  if void_after and now > void_after then
    return 'late'
  end
  if given.epoch ~= '' and redis.call('GET', EPOCH) ~= given.epoch then
    return 'epoch'
  end
  return nil
end

-- What the limits of an organisation say; nil is yes.
local function refused(tenant, seen, now)
  seen.in_flight = tenant.in_flight
  if tenant.in_flight >= caps.concurrent then
    return denied('concurrent')
  end
  seen.minute = free(tenant, now)
  if seen.minute <= 0 then
    return denied('minute', earliest(tenant, now))
  end
  seen.day = day_left(tenant, now)
  if seen.day <= 0 then
    local at = day_earliest(tenant, now)
    return at > now and denied('day', at) or nil
  end
  return nil
end

local function others_first(tenant, seen, now)
  local first = ahead(tenant, now)
  local places = caps.concurrent - tenant.in_flight
  if first > 0 and first >= math.min(seen.minute, places) then
    return denied(seen.minute <= places and 'minute' or 'concurrent', now + GRACE_SECONDS)
  end
  return nil
end

-- Charge an organisation; what the next call would be told, where that is known to be no.
local function charge(tenant, seen, permit, now)
  dispatch(tenant, now, permit)
  day_dispatch(tenant, now)
  tenant.in_flight = tenant.in_flight + 1
  local following
  if tenant.in_flight >= caps.concurrent then
    following = denied('concurrent')
  elseif seen.minute == 1 then
    following = denied('minute', earliest(tenant, now))
  end
  seen.in_flight, seen.minute, seen.day = tenant.in_flight, seen.minute - 1, seen.day - 1
  return following
end

local function grant(tenant, app, seen, keys, holds, now)
  local permit = replica .. ':' .. given.number
  dispatch(app, now, permit)
  seen.app_minute = seen.app_minute - 1
  local following = tenant and charge(tenant, seen, permit, now) or nil
  local record = {given.app, tenant and tenant_of(given.tenant) or false, given.api, exact(now)}
  redis.call('HSET', permits_of(replica), given.number, cmsgpack.pack(record))
  redis.call('EXPIRE', permits_of(replica), RECORD_SECONDS)
  return {granted = true, probes = probe(keys, holds, permit), following = following}
end

local function decide(tenant, app, seen, now)
  local keys = hold_keys(given.app, tenant and tenant_of(given.tenant), given.api)
  local holds = read_holds(keys)
  local held = blocking(keys, holds, now)
  if held then
    return denied(holds[held].reason, holds[held].ends > now and holds[held].ends or nil, held)
  end
  local denial = tenant and refused(tenant, seen, now)
  if denial then
    return denial
  end
  seen.app_minute = free(app, now)
  if seen.app_minute <= 0 then
    return denied('appminute', earliest(app, now))
  end
  denial = tenant and others_first(tenant, seen, now)
  return denial or grant(tenant, app, seen, keys, holds, now)
end

-- Remember who waits, and until when.
local function take_turn(tenant, decision, now)
  if not decision.granted then
    if not decision.place and (decision.limit == 'minute' or decision.limit == 'concurrent') then
      awaits(tenant, now, decision.at or now + POLL_SECONDS)
    end
  elseif given.more == '0' then
    has_had(tenant, now)
  elseif decision.following then
    has_had(tenant, now, decision.following.at or now + POLL_SECONDS)
  else
    has_had(tenant, now, now)
  end
end

local function decision_reply(decision, seen, now)
  local denial = decision.granted and decision.following or decision
  return {
    decision.granted and 'granted' or 'denied', string.format('%.6f', now),
    said(seen.in_flight), said(seen.minute), said(seen.day), said(seen.app_minute),
    denial.limit or '', said(denial.at and denial.at - now),
    decision.granted and decision.probes or said(denial.place and denial.place - 1),
  }
end

local function acquire(now)
  local reason = void(now)
  if reason then
    return {'void', string.format('%.6f', now), reason}
  end
  renew(now, LEASE_SECONDS)
  local tenant, app, seen = tenant_account(given.app, tenant_of(given.tenant)), app_account(given.app), {}
  local decision = decide(tenant, app, seen, now)
  if tenant then
    take_turn(tenant, decision, now)
    write_account(tenant)
  end
  write_account(app)
  return decision_reply(decision, seen, now)
end

-- Free what a permit held.
local function discharge(account, answer, permit)
  if not account.known then
    return
  elseif answer.sent then
    settle_window(account, answer.head_at, permit)
  else
    give_back(account, permit)
  end
end

local function discharge_tenant(tenant, answer, permit)
  discharge(tenant, answer, permit)
  tenant.in_flight = math.max(0, tenant.in_flight - 1)
  if not answer.sent then
    day_give_back(tenant)
  end
end

-- Compare the server's counts with ours; how many calls of others that revealed.
local function learn_all(tenant, app, sent_at, answer, now)
  if answer.app_minute_left and answer.app_minute_left < APP_LEARNING_SHARE * app.limit then
    learn(app, sent_at, answer.head_at, answer.app_minute_left, now)
  end
  if tenant and answer.day_left then
    day_learn(tenant, answer.day_left, unaccounted(tenant, sent_at))
  end
  if tenant and answer.minute_left then
    return learn(tenant, sent_at, answer.head_at, answer.minute_left, now)
  end
  return 0
end

-- Tell those who wait, and nobody else: there may be very many replicas.
local function publish_room(tenant, record)
  local message = cjson.encode({'room', record.owner, record.app, record.tenant})
  for _, name in ipairs(redis.call('HKEYS', tenant.key .. ':due')) do
    redis.call('PUBLISH', EVENTS .. ':' .. name, message)
  end
end

-- Account for what became of a permit: {owner, permit, app, tenant, api, sent_at}; `lost` ones only teach.
local function settle_permit(record, answer, lost, now)
  local tenant, app = tenant_account(record.app, record.tenant), app_account(record.app)
  local waited = tenant and now <= tenant.awaited
  local full = waited and tenant.in_flight >= caps.concurrent
  local spent = waited and not full and free(tenant, now) <= 0
  local revealed = answer.sent and learn_all(tenant, app, record.sent_at, answer, now) or 0
  local keys = hold_keys(record.app, record.tenant, record.api)
  local changes = settle_holds(keys, record.permit, record.sent_at, answer, now)
  for _, what in ipairs(changes) do
    publish_hold(record.owner, keys[what.place], what, now)
  end
  if not lost then
    discharge(app, answer, record.permit)
    if tenant then
      discharge_tenant(tenant, answer, record.permit)
    end
    if full or (spent and free(tenant, now) > 0) then
      tenant.freed_at = now
      publish_room(tenant, record)
    end
  end
  write_account(app)
  if tenant then
    write_account(tenant)
  end
  return changes, revealed
end

local function read_permit(name, number)
  local packed = redis.call('HGET', permits_of(name), number)
  if not packed then
    return nil
  end
  redis.call('HDEL', permits_of(name), number)
  local app, tenant, api, sent_at = unpack(cmsgpack.unpack(packed))
  return {
    owner = name, permit = name .. ':' .. number,
    app = app, tenant = tenant or nil, api = api, sent_at = tonumber(sent_at),
  }
end

local function answer_given(now)
  return {
    sent = given.sent == '1',
    head_at = now - tonumber(given.head_age),
    minute_left = tonumber(given.minute_left),
    day_left = tonumber(given.day_left),
    app_minute_left = tonumber(given.app_minute_left),
    retry_after = tonumber(given.retry_after),
    random = tonumber(given.random),
    healthy = given.healthy == '1',
    breaks = given.breaks == '1',
    rule = {scope = given.scope, reason = given.reason, seconds = given.rule_seconds, probe = given.probe == '1'},
  }
end

-- A permit that is not here was reaped, or never granted here: what its replica says of it is believed.
local function claimed(now)
  return {
    owner = replica, permit = '', app = given.app, tenant = tenant_of(given.tenant), api = given.api,
    sent_at = now - tonumber(given.sent_age),
  }
end

local function settle(now)
  renew(now, LEASE_SECONDS)
  local record, answer = read_permit(replica, given.number), answer_given(now)
  local lost = record == nil
  local changes, revealed = {}, 0
  if not lost or answer.sent then
    changes, revealed = settle_permit(record or claimed(now), answer, lost, now)
  end
  local reply = {lost and 'lost' or 'settled', string.format('%.6f', now), revealed}
  for _, what in ipairs(changes) do
    reply[#reply + 1] = {what.action, what.place - 1, what.reason, said(what.ends - now), what.probe and 1 or 0}
  end
  return reply
end
