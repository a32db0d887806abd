-- What `apply` does with the commonest batch: new tasks of one queue that nothing keeps from being Ready at once, no
-- two of one id. All is looked at before anything is changed. Where that finds anything out of the ordinary, nothing is
-- done, the answer is `Otherwise`, and `apply` is asked: it refuses, or has more to do.
--
-- The server makes every function of a script anew at each call, which costs as much as a small command. So there are
-- none here, and what has one elsewhere is written out. And a number that a command is given is printed as a floating
-- one, which costs as much again. So numbers are made texts first, and as whole ones.
--
-- ARGV: txn, queue, what is seldom said, then for each task its id, its priority, what is kept of it up to when it was
-- published, and its body. What is seldom said is one argument, since each costs as much as a lookup: nothing, or in
-- JSON the `stores` that have a part, the lone commits that are `spent`, whether the time is `wanted`, and the `ageing`
-- of all tasks. Returns a bare 1 if the time is not wanted, since that is read soonest.
local txn, queue, said = ARGV[3], ARGV[4], ARGV[5]
said = said == '' and {} or cjson.decode(said)
local FIRST, STEP, ZEROES = 6, 4, '000000000000000'
local call, format, char, sub = redis.call, string.format, string.char, string.sub

local ready = 'ready:' .. queue
local found = call('HMGET', meta, 'clock', 'seq', ready, sub(txn, 1, 16), txn)
local incarnation = found[4]
if not incarnation or sub(incarnation, 1, 5) ~= 'open:' or found[5] then return { '', 'Ok', 'Otherwise' } end
local at, published_at = tonumber(ARGV[1]), ARGV[1]
if tonumber(found[1]) > at then at, published_at = tonumber(found[1]), found[1] end

-- Most often there is none of these at all, so that one question answers many. Somebody who waits, and tasks that leave
-- by themselves, are what there is for long if there is any.
local staged_batch = store .. 'staged:' .. txn
local rare = call('EXISTS', waiting, leaving, aliases, reserved_ids, published, discarded, outcomes, staged_batch)
local lasting = rare > 0 and call('EXISTS', waiting, leaving) or 0
if lasting > 0 and call('ZCOUNT', leaving, '-inf', published_at) > 0 then return { '', 'Ok', 'Otherwise' } end
if rare > lasting then
  local is_known = call('EXISTS', staged_batch) > 0
    or #call('ZRANGE', outcomes, '[' .. txn .. ':', '(' .. txn .. ';', 'BYLEX') > 0
    or call('ZSCORE', published, txn)
    or call('ZSCORE', discarded, txn)
  if is_known then return { '', 'Ok', 'Otherwise' } end
  for i = FIRST, #ARGV, STEP do
    if call('HEXISTS', aliases, ARGV[i]) == 1 or call('HEXISTS', reserved_ids, ARGV[i]) == 1 then
      return { '', 'Ok', 'Otherwise' }
    end
  end
end

-- Listing the tasks tells whether one of them is there already: then those that were not are taken out again. What is
-- kept of a task ends with two texts in MessagePack: a short one begins with its length.
local new_count, seq = (#ARGV - FIRST + 1) / STEP, found[2] or '0'
local seq_field = char(0xa0 + #published_at) .. published_at .. '\163seq'
local ageing = said.ageing or AGEING
if new_count == 1 then
  -- One that comes alone is not put into tables, which cost as much as functions.
  local id, priority = ARGV[FIRST], ARGV[FIRST + 1]
  seq = format('%d', seq + 1)
  if call('ZADD', tasks, 'NX', seq, id) == 0 then return { '', 'Ok', 'Otherwise' } end
  local kept = ARGV[FIRST + 2] .. seq_field .. char(0xa0 + #seq) .. seq
  call('MSET', store .. 'task:' .. id, kept, store .. 'body:' .. id, ARGV[FIRST + 3])
  local line, offset = store .. 'ready:' .. priority .. ':' .. queue, format('%d', at + ageing * priority)
  call('ZADD', line, offset, sub(ZEROES .. seq, -16) .. ':' .. id)
  call('SADD', store .. 'bands:' .. queue, priority)
else
  local listed, lines, kept = {}, {}, {}
  for i = FIRST, #ARGV, STEP do
    seq = format('%d', seq + 1)
    listed[#listed + 1], listed[#listed + 2] = seq, ARGV[i]
  end
  if call('ZADD', tasks, 'NX', unpack(listed)) < new_count then
    for i = 1, #listed, 2 do
      if call('ZSCORE', tasks, listed[i + 1]) == listed[i] then call('ZREM', tasks, listed[i + 1]) end
    end
    return { '', 'Ok', 'Otherwise' }
  end
  local task, body = store .. 'task:', store .. 'body:'
  local priority, line, offset
  for i = FIRST, #ARGV, STEP do
    local id, sequence = ARGV[i], listed[(i - FIRST) / 2 + 1]
    if ARGV[i + 1] ~= priority then
      priority, offset = ARGV[i + 1], format('%d', at + ageing * ARGV[i + 1])
      line = lines[priority] or {}
      lines[priority] = line
    end
    local number = #kept
    kept[number + 1], kept[number + 2] = task .. id, ARGV[i + 2] .. seq_field .. char(0xa0 + #sequence) .. sequence
    kept[number + 3], kept[number + 4] = body .. id, ARGV[i + 3]
    line[#line + 1], line[#line + 2] = offset, sub(ZEROES .. sequence, -16) .. ':' .. id
  end
  call('MSET', unpack(kept))
  for band, places in pairs(lines) do
    call('ZADD', store .. 'ready:' .. band .. ':' .. queue, unpack(places))
    call('SADD', store .. 'bands:' .. queue, band)
  end
end

local ready_count = format('%d', (found[3] or 0) + new_count)
if said.stores then
  call('HSET', meta, 'clock', published_at, 'seq', seq, ready, ready_count)
  call('ZADD', outcomes, 0, txn .. ':commit:' .. said.stores)
else
  call('HSET', meta, 'clock', published_at, 'seq', seq, ready, ready_count, txn, 'commit')
end
if said.spent then call('HDEL', meta, unpack(said.spent)) end
if lasting > 0 then
  if call('SREM', waiting, ready) == 1 then
    redis.set_repl(redis.REPL_NONE)
    call('PUBLISH', store .. 'wake', ready)
  end
end
if not said.wanted then return 1 end
