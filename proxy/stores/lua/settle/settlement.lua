-- A settlement as a replica sends it.

local replica, number, app, tenant, api, sent_age, head_age, sent, minute_left, day_left, app_minute_left,
  retry_after, random, healthy, breaks, again, scope, reason, seconds, probe, ended = unpack(ARGV)

local now = clock()
local answer = {
  sent = sent == '1',
  head_at = now - tonumber(head_age),
  minute_left = tonumber(minute_left),
  day_left = tonumber(day_left),
  app_minute_left = tonumber(app_minute_left),
  retry_after = tonumber(retry_after),
  random = tonumber(random),
  healthy = healthy == '1',
  breaks = breaks == '1',
  again = again == '1',
  rule = {scope = scope, reason = reason, seconds = seconds, probe = probe == '1'},
}
renew(replica, now + LEASE_SECONDS)
ended = ended == '1'
local record = read_permit(replica, number, not ended)
local lost, changes, revealed = record == nil or record.settled == true, {}, 0
if not lost or answer.sent then
  -- A permit that is not here was reaped, or never granted here: what its replica says of it is believed.
  record = not lost and record or {
    owner = replica, permit = '', app = app, tenant = organisation(tenant), api = api,
    sent_at = now - tonumber(sent_age),
  }
  changes, revealed = settle_permit(record, answer, lost, ended, now)
end
local reply = {lost and 'lost' or 'settled', revealed}
for _, what in ipairs(changes) do
  reply[#reply + 1] = {what.action, what.place - 1, what.reason, said(what.ends - now), what.probe and 1 or 0}
end
return reply
