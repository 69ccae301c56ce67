-- Requests of many organisations in turn; the results as one line of JSON.
-- Arguments: path, number of organisations, bearer token, bytes of the body (0: a GET).
local requests, turn = {}, 0

function init(args)
   local path, tenants, token, size = args[1], tonumber(args[2]), args[3], tonumber(args[4])
   local body = size > 0 and string.rep("x", size) or nil
   for tenant = 1, tenants do
      local headers = {
         ["Authorization"] = "Bearer " .. token,
         ["Accept"] = "application/json",
         ["User-Agent"] = "bench",
         ["Xero-Tenant-Id"] = string.format("00000000-0000-4000-8000-%012d", tenant),
      }
      if body then headers["Content-Type"] = "application/json" end
      requests[tenant] = wrk.format(body and "POST" or "GET", path, headers, body)
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "failed": %d, "p99": %d}\n',
      summary.requests, summary.duration,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(99)))
end
