-- Who committed. An outcome is a member `txn:decision:stores` of one sorted set, in the order of the
-- transactions; an incarnation a field `standing:started_at:host` of a hash.

local outcomes = store .. 'outcomes'
local incarnations = store .. 'incarnations'

local function incarnation_of(txn) return string.sub(txn, 1, 16) end

-- Returns `open`, `closed` or `gone`.
local function standing(incarnation)
  local row = redis.call('HGET', incarnations, incarnation)
  if not row then return 'gone' end
  return string.match(row, '^(%a+):')
end

-- Returns `commit` or `abort`, or nil.
local function decision(txn)
  local row = first_with(outcomes, txn)
  return row and string.match(row, ':(%a+):')
end

local function row_of(txn, outcome, stores) return txn .. ':' .. outcome .. ':' .. stores end

local function record(txn, outcome, stores)
  redis.call('ZADD', outcomes, 0, row_of(txn, outcome, stores))
end

local function refuse_gone(incarnation)
  if standing(incarnation) ~= 'open' then refuse('IncarnationGone', incarnation) end
end

-- Forgets transactions that committed and in which no other store has a part.
local function forget_lone_commits(txns)
  local rows = {}
  for txn in string.gmatch(txns, '[^,]+') do rows[#rows + 1] = row_of(txn, 'commit', '') end
  if #rows > 0 then redis.call('ZREM', outcomes, unpack(rows)) end
end

-- Forgets those of the transactions that committed; returns how many.
local function forget_commits(txns)
  local count = 0
  for txn in string.gmatch(txns, '[^,]+') do
    local row = first_with(outcomes, txn)
    if row and string.match(row, ':(%a+):') == 'commit' then
      count = count + redis.call('ZREM', outcomes, row)
    end
  end
  return count
end
