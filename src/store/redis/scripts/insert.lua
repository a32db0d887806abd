-- What `apply` does with the commonest batch: new tasks of one queue that nothing keeps from being Ready at
-- once, no two of one id. All is looked at before anything is changed. Where that finds anything out of the
-- ordinary, nothing is done, the answer is `Otherwise`, and `apply` is asked: it refuses, or has more to do.
--
-- The server makes every function of a script anew at each call, which costs as much as a small command. So
-- there are hardly any here, and what has one elsewhere is written out. And a number that a command is given is
-- printed as a floating one, which costs as much again. So numbers are made texts first, and as whole ones.
--
-- ARGV: txn, stores, lone commits to forget, whether the time is wanted, queue, the ageing of all tasks or nothing, then
-- for each task its id, its priority, what is kept of it up to when it was published, and its body. Returns a bare 1 if
-- the time is not wanted, since that is read soonest.
local txn, stores, spent, queue, said = ARGV[3], ARGV[4], ARGV[5], ARGV[7], ARGV[8]
local ageing = tonumber(said) or AGEING
local FIRST, STEP = 9, 4
local call, format, char = redis.call, string.format, string.char
local answered_at = ARGV[6] ~= '' and text(server_time()) or ''
local otherwise = { answered_at, 'Ok', 'Otherwise' }

local ready = 'ready:' .. queue
local found = call('HMGET', meta, 'clock', 'seq', ready, string.sub(txn, 1, 16), txn)
local incarnation = found[4]
if not incarnation or string.sub(incarnation, 1, 5) ~= 'open:' or found[5] then return otherwise end
local at = math.max(tonumber(ARGV[1]), tonumber(found[1] or '0'))
local seq = tonumber(found[2] or '0')

-- Most often there is none of these at all, so that one question answers many.
local staged_batch = store .. 'staged:' .. txn
local is_rare = call('EXISTS', waiting, leaving, aliases, reserved_ids, published, discarded, outcomes, staged_batch) > 0
if is_rare then
  if call('EXISTS', staged_batch) > 0 then return otherwise end
  if #call('ZRANGE', outcomes, '[' .. txn .. ':', '(' .. txn .. ';', 'BYLEX') > 0 then return otherwise end
  if call('ZSCORE', published, txn) or call('ZSCORE', discarded, txn) then return otherwise end
  if call('ZCOUNT', leaving, '-inf', at) > 0 then return otherwise end
  for i = FIRST, #ARGV, STEP do
    if call('HEXISTS', aliases, ARGV[i]) == 1 or call('HEXISTS', reserved_ids, ARGV[i]) == 1 then
      return otherwise
    end
  end
end

-- Listing the tasks tells whether one of them is there already: then those that were not are taken out again.
local listed = {}
for i = FIRST, #ARGV, STEP do
  seq = seq + 1
  listed[#listed + 1], listed[#listed + 2] = format('%d', seq), ARGV[i]
end
if call('ZADD', tasks, 'NX', unpack(listed)) < #listed / 2 then
  for i = 1, #listed, 2 do
    if call('ZSCORE', tasks, listed[i + 1]) == listed[i] then call('ZREM', tasks, listed[i + 1]) end
  end
  return otherwise
end

-- What is kept ends with two texts in MessagePack: a short one begins with its length.
local published_at = text(at)
local seq_field = char(0xa0 + #published_at) .. published_at .. '\163seq'
local task, body = store .. 'task:', store .. 'body:'
local priority, line, offset
local lines, kept = {}, {}
for i = FIRST, #ARGV, STEP do
  local id, sequence = ARGV[i], listed[(i - FIRST) / 2 + 1]
  if ARGV[i + 1] ~= priority then
    priority, offset = ARGV[i + 1], at + ageing * ARGV[i + 1]
    line = lines[priority] or {}
    lines[priority] = line
  end
  local number = #kept
  kept[number + 1], kept[number + 2] = task .. id, ARGV[i + 2] .. seq_field .. char(0xa0 + #sequence) .. sequence
  kept[number + 3], kept[number + 4] = body .. id, ARGV[i + 3]
  line[#line + 1], line[#line + 2] = format('%d', offset), format('%016d:%s', sequence, id)
end
call('MSET', unpack(kept))
for band, places in pairs(lines) do
  call('ZADD', store .. 'ready:' .. band .. ':' .. queue, unpack(places))
  call('SADD', store .. 'bands:' .. queue, band)
end
local ready_count = format('%d', tonumber(found[3] or '0') + #listed / 2)
if stores == '' then
  call('HSET', meta, 'clock', published_at, 'seq', format('%d', seq), ready, ready_count, txn, 'commit')
else
  call('HSET', meta, 'clock', published_at, 'seq', format('%d', seq), ready, ready_count)
  call('ZADD', outcomes, 0, txn .. ':commit:' .. stores)
end
if spent ~= '' then forget_lone_commits(spent) end
if is_rare then
  redis.set_repl(redis.REPL_NONE)
  if call('SREM', waiting, ready) == 1 then call('PUBLISH', store .. 'wake', ready) end
end
return answered_at == '' and 1 or { answered_at, 'Ok', {} }
