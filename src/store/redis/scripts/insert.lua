-- What `apply` does with the commonest batch: new tasks of one queue that nothing keeps from being Ready at
-- once, no two of one id. All is looked at before anything is changed. Where that finds anything out of the
-- ordinary, nothing is done, the answer is `Otherwise`, and `apply` is asked: it refuses, or has more to do.
--
-- The server makes every function of a script anew at each call, which costs as much as a small command. So
-- there are hardly any here, and what has one elsewhere is written out.
--
-- ARGV: txn, stores, lone commits to forget, queue, the ageing of all tasks or nothing, then for each task its
-- id, its priority, its retention or nothing, and its body.
local txn, stores, spent, queue, said = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local ageing = tonumber(said) or AGEING
local FIRST, STEP = 8, 4
local call, format = redis.call, string.format
local answered_at = text(server_time())
local otherwise = { answered_at, 'Ok', 'Otherwise' }

local incarnation = call('HGET', incarnations, string.sub(txn, 1, 16))
if not incarnation or string.sub(incarnation, 1, 5) ~= 'open:' then return otherwise end
if #call('ZRANGE', outcomes, '[' .. txn .. ':', '(' .. txn .. ';', 'BYLEX') > 0 then return otherwise end

local ready = 'ready:' .. queue
local found = call('HMGET', meta, 'clock', 'seq', ready)
local at = math.max(tonumber(ARGV[1]), tonumber(found[1] or '0'))
local seq, ready_count = tonumber(found[2] or '0'), tonumber(found[3] or '0')
local task, body = store .. 'task:', store .. 'body:'

-- Most often there is none of these at all, so that one question answers many.
local rare = { waiting, leaving, aliases, reserved_ids, published, discarded, store .. 'staged:' .. txn }
local ALWAYS_RARE = #rare
for i = FIRST, #ARGV, STEP do rare[#rare + 1] = task .. ARGV[i] end
local is_rare = call('EXISTS', unpack(rare)) > 0
if is_rare then
  if call('EXISTS', unpack(rare, ALWAYS_RARE)) > 0 then return otherwise end
  if call('ZSCORE', published, txn) or call('ZSCORE', discarded, txn) then return otherwise end
  if call('ZCOUNT', leaving, '-inf', at) > 0 then return otherwise end
  for i = FIRST, #ARGV, STEP do
    if call('HEXISTS', aliases, ARGV[i]) == 1 or call('HEXISTS', reserved_ids, ARGV[i]) == 1 then
      return otherwise
    end
  end
end

local published_at = text(at)
for i = FIRST, #ARGV, STEP do
  local id, priority, retention = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  seq, ready_count = seq + 1, ready_count + 1
  call('HSET', task .. id, 'state', 'ready', 'queue', queue, 'priority', priority,
    'published_at', published_at, 'seq', seq)
  if said ~= '' then call('HSET', task .. id, 'ageing', said) end
  if retention ~= '' then call('HSET', task .. id, 'retention', retention) end
  call('SET', body .. id, ARGV[i + 3])
  call('ZADD', tasks, seq, id)
  call('ZADD', store .. 'ready:' .. priority .. ':' .. queue, at + ageing * priority,
    format('%016.0f:%s', seq, id))
  call('SADD', store .. 'bands:' .. queue, priority)
end
call('HSET', meta, 'clock', published_at, 'seq', seq, ready, ready_count)
call('ZADD', outcomes, 0, txn .. ':commit:' .. stores)
if spent ~= '' then
  local rows = {}
  for lone in string.gmatch(spent, '[^,]+') do rows[#rows + 1] = lone .. ':commit:' end
  call('ZREM', outcomes, unpack(rows))
end
if is_rare then
  redis.set_repl(redis.REPL_NONE)
  if call('SREM', waiting, ready) == 1 then call('PUBLISH', store .. 'wake', ready) end
end
return { answered_at, 'Ok', {} }
