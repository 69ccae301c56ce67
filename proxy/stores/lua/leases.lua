-- Leases, so that a replica which died holds nothing: `SharedLimits.beat` of proxy/core/sharing.py; what an
-- operator may do; and the one call that was asked for.

local function settle_lost(name, number, now)
  local answer = {sent = true, head_at = now, random = 0, rule = {scope = ''}}
  settle_permit(read_permit(name, number), answer, false, now)
end

-- Settle this replica's permits but those that it still holds: the server can have gone back to an older state.
local function disown(now)
  local held = {}
  for number in string.gmatch(given.held, '%d+') do
    held[number] = true
  end
  for _, number in ipairs(given.held == '' and {} or redis.call('HKEYS', permits_of(replica))) do
    if not held[number] then
      settle_lost(replica, number, now)
    end
  end
end

-- Settle what a dead replica left, as sent with an unknown outcome, `most` at once; how many there were.
local function bury(name, most, now)
  local numbers = redis.call('HRANDFIELD', permits_of(name), most)
  for _, number in ipairs(numbers) do
    settle_lost(name, number, now)
  end
  if redis.call('EXISTS', permits_of(name)) == 0 then
    redis.call('ZREM', REPLICAS, name)
  end
  return #numbers
end

local function reap(now)
  local reaped = 0
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', REPLICAS, '-inf', exact(now))) do
    if reaped < REAPED_AT_ONCE then
      reaped = reaped + bury(name, REAPED_AT_ONCE - reaped, now)
    end
  end
  return reaped
end

-- Every hold as {name, reason, seconds left, probing, probe}; nothing at all where there are very many.
local function holds_reply(reply, now)
  if redis.call('HLEN', HOLDS) > HOLDS_TOLD then
    reply[6] = 0
    return reply
  end
  for name, packed in pairs(pairs_of(HOLDS)) do
    local one = cmsgpack.unpack(packed)
    if one.probe or one.ends > now then
      reply[#reply + 1] = {
        name, one.reason, said(math.max(0, one.ends - now)), one.probing and 1 or 0, one.probe and 1 or 0,
      }
    end
  end
  return reply
end

local function beat(now)
  local ends = redis.call('ZSCORE', REPLICAS, replica)
  local lapsed = not ends or tonumber(ends) <= now
  renew(now, tonumber(given.lease))
  redis.call('SET', EPOCH, exact(now) .. ':' .. replica, 'NX')
  redis.call('EXPIRE', EPOCH, RECORD_SECONDS)
  redis.call('EXPIRE', REPLICAS, RECORD_SECONDS)
  disown(now)
  local reaped = reap(now)
  forget_holds(now)
  local alive = redis.call('ZCOUNT', REPLICAS, '(' .. exact(now), '+inf')
  local more = redis.call('ZCARD', REPLICAS) > alive
  local reply = {
    string.format('%.6f', now), alive, lapsed and 1 or 0, reaped, more and 1 or 0, 1, redis.call('GET', EPOCH),
  }
  return holds_reply(reply, now)
end

local function clear(now)
  local key = hold_key(given.scope, given.app, given.tenant, given.api)
  local old = read_holds({key})[1]
  if not old then
    return {}
  end
  if given.scope == 'api' then
    redis.call('HDEL', FAILURES, key.api)
  end
  local changes = {}
  end_hold(changes, key, 1, old, 'cleared')
  publish_hold(replica, key, changes[1], now)
  return {old.reason, said(old.ends - now), old.probe and 1 or 0}
end

return ({acquire = acquire, settle = settle, beat = beat, clear = clear})[given.operation](clock())
