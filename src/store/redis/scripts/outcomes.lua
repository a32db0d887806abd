-- Who committed. A commit in which no other store has a part is a field of `meta`, beside the clock, because
-- that is written anyway: the field is the transaction, and `commit` its value. Any other outcome is a member
-- `txn:decision:stores` of a sorted set, in the order of the transactions. An incarnation is a field of `meta`
-- too, `standing:started_at:host`. Neither an id has a colon, as fields that count have.

local outcomes = store .. 'outcomes'

local function incarnation_of(txn) return string.sub(txn, 1, 16) end

-- Returns `open`, `closed` or `gone`.
local function standing(incarnation)
  local row = redis.call('HGET', meta, incarnation)
  if not row then return 'gone' end
  return string.match(row, '^(%a+):')
end

-- Returns `commit` or `abort`, or nil.
local function decision(txn)
  local lone = redis.call('HGET', meta, txn)
  if lone then return lone end
  local row = first_with(outcomes, txn)
  return row and string.match(row, ':(%a+):')
end

local function record(txn, outcome, stores)
  if outcome == 'commit' and stores == '' then
    redis.call('HSET', meta, txn, outcome)
  else
    redis.call('ZADD', outcomes, 0, txn .. ':' .. outcome .. ':' .. stores)
  end
end

local function refuse_gone(incarnation)
  if standing(incarnation) ~= 'open' then refuse('IncarnationGone', incarnation) end
end

-- Forgets transactions that committed and in which no other store has a part; returns how many it knew.
local function forget_lone_commits(txns)
  local fields = {}
  for txn in string.gmatch(txns, '[^,]+') do fields[#fields + 1] = txn end
  local count = 0
  for i = 1, #fields, 1000 do
    count = count + redis.call('HDEL', meta, unpack(fields, i, math.min(i + 999, #fields)))
  end
  return count
end

-- Forgets those of the transactions that committed; returns how many.
local function forget_commits(txns)
  local count = forget_lone_commits(txns)
  for txn in string.gmatch(txns, '[^,]+') do
    local row = first_with(outcomes, txn)
    if row and string.match(row, ':(%a+):') == 'commit' then
      count = count + redis.call('ZREM', outcomes, row)
    end
  end
  return count
end

-- The fields of `meta` that are named by ids: incarnations, or lone commits.
local function fields_like(pattern)
  local found = {}
  for _, field in ipairs(redis.call('HKEYS', meta)) do
    if string.find(field, pattern) then found[#found + 1] = field end
  end
  return found
end

-- The lone commits of an incarnation, or of all.
local function lone_commits(incarnation)
  return fields_like('^' .. (incarnation or string.rep('%x', 16)) .. '%-')
end
