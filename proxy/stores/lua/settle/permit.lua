-- What became of a permit: proxy/core/limits/decision.py and `SharedLimits` of proxy/core/limits/sharing.py.

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

local function discharge_tenant(tenant, answer, permit, ended)
  discharge(tenant, answer, permit)
  if ended then
    tenant.in_flight = math.max(0, tenant.in_flight - 1)
  end
  if not answer.sent then
    day_give_back(tenant)
  end
end

local function near(app, left)
  return left < APP_LEARNING_SHARE * app.limit
end

-- Compare the server's counts with ours; how many calls of others that revealed.
local function learn_all(tenant, app, sent_at, answer, now)
  local revealed = 0
  local app_left = answer.app_minute_left
  if app_left and near(app, app_left) then
    learn(app, sent_at, answer.head_at, app_left, now)
  end
  if tenant and answer.day_left then
    day_learn(tenant, answer.day_left, unaccounted(tenant, sent_at))
  elseif tenant and answer.healthy and tenant.said and tenant.said < 0 then
    tenant.said = nil
  end
  if tenant and answer.minute_left then
    revealed = learn(tenant, sent_at, answer.head_at, answer.minute_left, now)
  end
  local room_at = answer.retry_after and answer.head_at + answer.retry_after
  if room_at and answer.rule.reason == 'appminute' then
    expect(app, room_at, now)
  elseif room_at and answer.rule.reason == 'minute' and tenant then
    expect(tenant, room_at, now)
  end
  return revealed
end

-- The server has room again by a limit by which it had refused. Where nothing is learned from the answer, nothing
-- is believed any more.
local function let_in(tenant, app, limit, sent_at, answer, now)
  if limit == 'appminute' and not (answer.app_minute_left and near(app, answer.app_minute_left)) then
    forget_others(app, sent_at, now)
  elseif limit == 'minute' and tenant and not answer.minute_left then
    forget_others(tenant, sent_at, now)
  elseif limit == 'day' and tenant and not answer.day_left then
    day_begin_anew(tenant)
  end
end

-- Tell those who wait, and nobody else: there may be very many replicas.
local function publish_room(tenant, record)
  local message = cjson.encode({'room', record.owner, record.app, record.tenant})
  for _, name in ipairs(redis.call('HKEYS', tenant.key .. ':due')) do
    redis.call('PUBLISH', EVENTS .. ':' .. name, message)
  end
end

-- Account for what became of a permit: {owner, permit, app, tenant, api, sent_at}; `lost` ones only teach. Where the
-- answer has not `ended`, its place is freed later.
local function settle_permit(record, answer, lost, ended, now)
  local tenant, app = read_accounts(record.app, record.tenant)
  local waited = tenant and now <= tenant.awaited
  local full = waited and tenant.in_flight >= CAP_CONCURRENT
  local spent = waited and not full and free(tenant, now, 1) <= 0
  local revealed = answer.sent and learn_all(tenant, app, record.sent_at, answer, now) or 0
  local names = hold_names(record.app, record.tenant, record.api)
  local changes = settle_holds(names, record.permit, record.sent_at, answer, now)
  for _, what in ipairs(changes) do
    if what.action == 'ended' then
      let_in(tenant, app, what.reason, record.sent_at, answer, now)
    end
    publish_hold(record.owner, scope_of(names[what.place]), record.app, record.tenant, record.api, what, now)
  end
  if not lost then
    discharge(app, answer, record.permit)
    if tenant then
      discharge_tenant(tenant, answer, record.permit, ended)
    end
    if (full and ended) or (spent and free(tenant, now, 1) > 0) then
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

-- An open permit, to be closed or (`keep`) noted as settled, with its place still taken.
local function read_permit(name, number, keep)
  local permits = permits_of(name)
  local packed = redis.call('HGET', permits, number)
  if not packed then
    return nil
  end
  local app, tenant, api, sent_at, settled = unpack(cmsgpack.unpack(packed))
  if not keep then
    redis.call('HDEL', permits, number)
  elseif not settled then
    redis.call('HSET', permits, number, cmsgpack.pack({app, tenant, api, sent_at, true}))
  end
  return {
    owner = name, permit = name .. ':' .. number, app = app, tenant = tenant or nil, api = api, sent_at = sent_at,
    settled = settled,
  }
end

-- Free the place of an answer that has ended.
local function free_place(record, now)
  local tenant = read_accounts(record.app, record.tenant)
  if not tenant then
    return
  end
  local full = now <= tenant.awaited and tenant.in_flight >= CAP_CONCURRENT
  tenant.in_flight = math.max(0, tenant.in_flight - 1)
  if full then
    tenant.freed_at = now
    publish_room(tenant, record)
  end
  write_account(tenant)
end

-- Nobody will say more of a permit: what its answer meant stays unknown where nobody said it.
local function end_permit(record, now)
  if record.settled then
    free_place(record, now)
  else
    settle_permit(record, {sent = true, head_at = now, random = 0, rule = {scope = ''}}, false, true, now)
  end
end
