-- Who shares the limits, and what each has in flight, over the keys
--   <namespace>:replicas            sorted set: when each replica's lease ends
--   <namespace>:permits:<replica>   hash: its open permits, by number; and HERE, so that it is never empty and
--                                   one EXPIRE now and then is enough
--   <namespace>:epoch               names this state; another one means that all was lost
-- All keys are made from KEYS[1], whose braces keep them in one slot of a cluster, and all expire.

local REPLICAS, EPOCH, HERE = KEYS[1] .. ':replicas', KEYS[1] .. ':epoch', ''

local function permits_of(name)
  return KEYS[1] .. ':permits:' .. name
end

local function renew(replica, ends)
  if redis.call('ZADD', REPLICAS, ends, replica) == 1 then
    redis.call('EXPIRE', REPLICAS, RECORD_SECONDS)
    redis.call('HSET', permits_of(replica), HERE, '')
    redis.call('EXPIRE', permits_of(replica), RECORD_SECONDS)
  end
end
