-- Batches that are staged, and traces of those that were.

local staged = store .. 'staged'
local in_doubt_since = store .. 'in_doubt_since'
local published = store .. 'published'
local discarded = store .. 'discarded'

-- A trace of what was discarded is kept for a day: a stage that comes later still is discarded again.
local DISCARDED_KEPT = 24 * 3600 * 1000000

local function staged_key(txn) return store .. 'staged:' .. txn end

local function refuse_ended(txn)
  local is_ended = redis.call('ZSCORE', published, txn) or redis.call('ZSCORE', discarded, txn)
  if is_ended or decision(txn) then refuse('Decided', txn) end
end

-- Refuses to apply what is known of already. Where nothing was staged lately, one question tells that for all.
local function refuse_known_txn(txn)
  if redis.call('EXISTS', staged_key(txn), published, discarded) > 0 then
    if redis.call('EXISTS', staged_key(txn)) == 1 then refuse('StagedOtherwise', txn) end
    refuse_ended(txn)
  elseif decision(txn) then
    refuse('Decided', txn)
  end
end

-- Returns what is staged for a transaction, as a table of fields; nil if nothing is.
local function load_staged(txn)
  local flat = redis.call('HGETALL', staged_key(txn))
  if #flat == 0 then return nil end
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- Gives the blobs of a staged batch by their numbers.
local function blobs_of(fields)
  return function(number) return fields['blob:' .. text(number)] end
end

-- Drops what was staged, and notes in `trace` that it ended.
local function end_staged(txn, trace)
  redis.call('ZREM', staged, txn)
  redis.call('ZREM', in_doubt_since, txn)
  redis.call('UNLINK', staged_key(txn))
  redis.call('ZADD', trace, now, txn)
end

-- Drops two of the oldest traces for each new one, so that they never pile up.
local function drop_traces()
  local old = redis.call('ZRANGE', discarded, '-inf', now - DISCARDED_KEPT, 'BYSCORE', 'LIMIT', 0, 2)
  if #old > 0 then redis.call('ZREM', discarded, unpack(old)) end
end
