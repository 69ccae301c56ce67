-- The last byte of an answer has come to a replica.

local replica, number = unpack(ARGV)

local now = clock()
renew(replica, now + LEASE_SECONDS)
local record = read_permit(replica, number)
if record then
  end_permit(record, now)
end
return record and 'released' or 'lost'
