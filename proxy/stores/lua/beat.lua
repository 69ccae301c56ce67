-- Leases, so that a replica which died holds nothing: `SharedLimits.beat` of proxy/core/limits/sharing.py.

local replica, lease, held = unpack(ARGV)

-- Settle this replica's permits but those that it still holds: the server can have gone back to an older state.
local function disown(now)
  local kept = {[HERE] = true}
  for number in string.gmatch(held, '%d+') do
    kept[number] = true
  end
  for _, number in ipairs(held == '' and {} or redis.call('HKEYS', permits_of(replica))) do
    if not kept[number] then
      end_permit(read_permit(replica, number), now)
    end
  end
end

-- Settle what a dead replica left, as sent with an unknown outcome, `most` at once; how many there were.
local function bury(name, most, now)
  local permits, buried = permits_of(name), 0
  for _, number in ipairs(redis.call('HRANDFIELD', permits, most + 1)) do
    if number ~= HERE and buried < most then
      end_permit(read_permit(name, number), now)
      buried = buried + 1
    end
  end
  if redis.call('HLEN', permits) == redis.call('HEXISTS', permits, HERE) then
    redis.call('DEL', permits)
    redis.call('ZREM', REPLICAS, name)
  end
  return buried
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

-- Every hold as {name, reason, seconds left, probing, probe}; nothing at all where there are very many.
local function holds_reply(reply, now)
  if redis.call('HLEN', HOLDS) > HOLDS_TOLD then
    reply[6] = 0
    return reply
  end
  local flat = redis.call('HGETALL', HOLDS)
  for place = 1, #flat, 2 do
    local one = cmsgpack.unpack(flat[place + 1])
    if one.probe or one.ends > now then
      reply[#reply + 1] = {
        flat[place], one.reason, said(math.max(0, one.ends - now)), one.probing and 1 or 0, one.probe and 1 or 0,
      }
    end
  end
  return reply
end

local now = clock()
local ends = redis.call('ZSCORE', REPLICAS, replica)
local lapsed = not ends or tonumber(ends) <= now
renew(replica, now + tonumber(lease))
redis.call('SET', EPOCH, exact(now) .. ':' .. replica, 'NX')
redis.call('EXPIRE', EPOCH, RECORD_SECONDS)
redis.call('EXPIRE', REPLICAS, RECORD_SECONDS)
redis.call('EXPIRE', permits_of(replica), RECORD_SECONDS)
disown(now)
local reaped = reap(now)
forget_holds(now)
local alive = redis.call('ZCOUNT', REPLICAS, '(' .. exact(now), '+inf')
local more = redis.call('ZCARD', REPLICAS) > alive
return holds_reply({
  exact(now), alive, lapsed and 1 or 0, reaped, more and 1 or 0, 1, redis.call('GET', EPOCH),
}, now)
