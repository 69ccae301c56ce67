-- What an operator may do: end a hold, and what is believed of an organisation's day; `Limits.clear` of
-- proxy/core/limits/decision.py.

local replica, scope, app, tenant, api = unpack(ARGV)

local now = clock()
local names = hold_names(app, (scope == 'tenant' or tenant ~= '') and tenant or nil, api)
local place = 1
while scope_of(names[place]) ~= scope do
  place = place + 1
end
local old = read_holds(names)[place] or nil
local account = scope == 'tenant' and read_accounts(app, tenant)
if account and account.known then
  account.asked_at = NEVER
  if day_left(account, now) <= 0 then
    old = old or {reason = 'day', ends = now, probe = false}
  end
  write_account(account)
end
if not old then
  return {}
end
redis.call('HDEL', FAILURES, names[place])
local changes = {}
end_hold(changes, names[place], place, old, 'cleared')
publish_hold(replica, scope, app, tenant, api, changes[1], now)
return {old.reason, said(old.ends - now), old.probe and 1 or 0}
