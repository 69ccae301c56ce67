-- The time, and how numbers are told. Names in capitals that no file here defines are constants of the core and
-- figures of the settings; what they stand for is put in their place before the script is sent.

-- The server's clock, the only one: seconds since 1970.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function exact(number)
  return string.format('%.17g', number)
end

-- In a reply nil is empty.
local function said(number)
  return number and exact(number) or ''
end
