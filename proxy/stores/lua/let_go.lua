-- Nobody need wait for a probe's verdict any more: `Holds.let_go` of proxy/core/limits/holds.py.

local replica, number, app, tenant, api = unpack(ARGV)
tenant = organisation(tenant)

local now = clock()
local names = hold_names(app, tenant, api)
for place, hold in ipairs(read_holds(names)) do
  if hold and hold.probing == replica .. ':' .. number then
    hold.probing = nil
    write_hold(names[place], hold)
    publish_hold(replica, scope_of(names[place]), app, tenant, api, change('inconclusive', place, hold), now)
  end
end
return 'let go'
