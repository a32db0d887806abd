-- What every script begins with: where things are, what time it is, and how a script answers.
--
-- KEYS[1] is the store: `{votive:<name>}`. ARGV[1] is the caller's time in microseconds, ARGV[2] a
-- time that replaces the server's for leases, or empty. What follows is each script's own.

local store = KEYS[1] .. ':'
local meta = store .. 'meta'
local unpack = unpack

-- Beyond this, doubles are no longer exact; whatever is later is the end of time.
local EXACT_MAX = 2 ^ 53
local END_OF_TIME = '9223372036854775807'

local function text(number)
  if number >= EXACT_MAX then return END_OF_TIME end
  return string.format('%d', number)
end

-- For the server a script takes no time, so that asking once is enough.
local asked_time = nil

local function server_time()
  if ARGV[2] ~= '' then return tonumber(ARGV[2]) end
  if not asked_time then
    local time = redis.call('TIME')
    asked_time = time[1] * 1000000 + time[2]
  end
  return asked_time
end

-- The time of the store: the caller's, unless somebody has seen a later one.
local function latest()
  local seen = redis.pcall('HGET', meta, 'clock')
  if type(seen) ~= 'string' then seen = nil end
  return math.max(tonumber(ARGV[1]), tonumber(seen or '0'))
end

local now = latest()

-- Called by scripts that leave `now` in the store.
local function keep_time()
  redis.call('HSET', meta, 'clock', text(now))
end

-- Ends the script: nothing of it is kept. The first word is the name of a `Kind`.
local function refuse(...)
  error({ ... })
end

-- The end of a range of members that begin with `prefix` and a colon: `;` follows `:`.
local function first_with(zset, prefix)
  return redis.call('ZRANGE', zset, '[' .. prefix .. ':', '(' .. prefix .. ';', 'BYLEX', 'LIMIT', 0, 1)[1]
end

local function is_empty(zset)
  return redis.call('EXISTS', zset) == 0
end

-- Answers with what `body` returns, or with what refused it after `mend`.
local function answer(body, mend)
  local done, result = pcall(body)
  if done then return { text(server_time()), 'Ok', result } end
  if mend then mend() end
  if type(result) == 'table' and not result.err then
    return { text(server_time()), unpack(result) }
  end
  return redis.error_reply(type(result) == 'table' and result.err or 'ERR ' .. tostring(result))
end
