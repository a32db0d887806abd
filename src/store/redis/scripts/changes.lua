-- What each change of a batch does to the tasks. A batch is *tried for real*; a refused change undoes
-- those before it.

-- Whether the batch was judged before, when it was staged: then nothing refuses it any more.
local is_judged = false

-- Refuses to touch what a staged batch was judged by.
local function refuse_staged(id, task)
  if task.pin and task.state == 'claimed' then refuse('Pinned', id) end
  if task.pin then refuse('Conflict') end
  if task.holds_key and redis.call('HEXISTS', reserved_keys, task.unique) == 1 then
    refuse('Conflict')
  end
end

local function refuse_known(id)
  if find(id) or redis.call('HEXISTS', reserved_ids, id) == 1 then refuse('TaskExists', id) end
end

-- The key that a new task asks for: none if it ended elsewhere.
local function wanted_key(change) return not change.state and change.unique or nil end

-- Returns the task that a new one merges into, if any.
local function holder_to_merge_into(change)
  local key = wanted_key(change)
  if not key then return nil end
  local holder = key_holder(key)
  local found = holder or rester(key)
  if is_judged then return not change.refuses and found end
  if not found then
    if redis.call('HEXISTS', reserved_keys, key) == 1 then refuse('Conflict') end
    return nil
  end
  if change.refuses then refuse('NotUnique', key, found) end
  if holder and load(holder).pin then refuse('Conflict') end
  return found
end

-- The fields of a task that is about to be published, with its history if it comes from elsewhere.
local function new_task(change, blob)
  local task = {
    state = change.state or 'staged',
    queue = change.queue,
    priority = change.priority,
    ageing = change.ageing,
    not_before = change.not_before,
    delay = change.delay,
    group = change.group,
    group_limit = change.group_limit,
    unique = change.unique,
    unique_runs = change.unique_runs and '1' or nil,
    rest_enqueued = change.rest_enqueued,
    rest_ended = change.rest_ended,
    about = change.about,
    unmet = not change.state and change.waits_for or nil,
    retention = change.retention,
    published_at = change.published_at,
    account = change.account and blob(change.account),
    dead = change.dead,
    ended_at = change.ended_at,
    progress = change.progress,
  }
  if change.counts then set_counts(task, change.counts) end
  return task
end

local changes = {}

function changes.insert(change, blob, merged)
  local id = change.task
  refuse_known(id)
  local holder = holder_to_merge_into(change)
  if holder then
    -- One for whose sake a key rests may be gone; then there is nothing to be another name of.
    if load(holder) then merge(id, holder) end
    merged[#merged + 1] = id
    merged[#merged + 1] = holder
    dropped[#dropped + 1] = id
    return
  end
  local task = new_task(change, blob)
  local busy = is_busy(id, task)
  publish(id, task, busy)
  task.seq = text(redis.call('HINCRBY', meta, 'seq', 1))
  if wanted_key(change) then
    local other, former = key_holder(task.unique)
    log_former_holder(former, id)
    task.holds_key = not other and '1' or nil
  end
  put(id, task)
  if wanted_key(change) then rest(id, task) end
  if busy then pass_on(task.group) end
end

function changes.settle(change, blob)
  local id, task = find(change.task)
  if not id or task.token ~= change.token then refuse('ClaimLost', change.task) end
  if task.pin then refuse('Pinned', change.task) end
  local after = copy(task)
  local leaves = verdicts[change.verdict](id, after, change)
  if change.account then after.account = blob(change.account) end
  set_counts(after, change.counts)
  for _, field in ipairs(CLAIM) do after[field] = nil end
  if ENDED[after.state] then rest(id, after) end
  follow(id, after, leaves)
end

local function amend(change)
  local id, task = find(change.task)
  if not id then refuse('StateChanged', change.task, 'missing') end
  if change.amendment ~= 'progress' then refuse_staged(id, task) end
  -- Of several tasks of a group that a batch changes, others may have a place by now than when it was judged.
  if not is_judged and not string.find(change.expect, task.state, 1, true) then
    refuse('StateChanged', id, task.state)
  end
  local after = copy(task)
  local leaves = amendments[change.amendment](id, after, change, is_busy(id, task))
  if change.amendment == 'cancel' or change.amendment == 'remove' then end_rest(id, task) end
  follow(id, after, leaves)
end

function changes.amend(change)
  local done, reason = pcall(amend, change)
  -- How far a task was pins nothing, and means nothing once it has ended.
  if not done and not (is_judged and change.amendment == 'progress') then error(reason) end
end

function changes.arrive(change)
  local id, task = find(change.task)
  if not id then return end
  local unmet = {}
  for prerequisite in string.gmatch(task.unmet or '', '[^,]+') do
    if prerequisite ~= change.done then unmet[#unmet + 1] = prerequisite end
  end
  local after = copy(task)
  after.unmet = #unmet > 0 and table.concat(unmet, ',') or nil
  if after.unmet == task.unmet then return end
  change_to(id, after)
  go_on(id)
end

function changes.mark(change, blob)
  local value = change.value and blob(change.value)
  if not is_judged then
    if redis.call('SISMEMBER', reserved_marks, change.key) == 1 then refuse('Conflict') end
    local expected = change.expect and blob(change.expect)
    if (redis.call('HGET', marks, change.key) or nil) ~= expected then
      refuse('MarkChanged', change.key)
    end
  end
  set_mark(change.key, value)
end

function changes.room(change)
  local is_full = not is_judged and pending_in(change.queue) > change.pending_max
  if is_full then refuse('QueueFull', change.queue, text(change.pending_max)) end
end

-- Makes all changes in order; returns the pairs of merged tasks. `blob` gives the bytes of a number.
local function perform(batch, blob)
  local merged = {}
  for _, change in ipairs(batch) do changes[change.change](change, blob, merged) end
  return merged
end

-- The visible tasks that nothing else may move while a batch is staged.
local function pinned(batch)
  local ids = {}
  for _, change in ipairs(batch) do
    local is_amended = change.change == 'amend' and change.amendment ~= 'progress'
    if change.change == 'settle' or is_amended then
      local id = find(change.task)
      if id then ids[#ids + 1] = id end
    end
  end
  return ids
end

local function set_pins(batch, txn)
  local ids = pinned(batch)
  for _, id in ipairs(ids) do
    -- A pinned claim must outlive the server, because what was promised depends on it.
    local task = as_lasting(id)
    task.pin = txn
    put(id, task)
  end
  return ids
end

-- Reserves and pins what a batch was judged by.
local function lock(batch, txn)
  for _, change in ipairs(batch) do
    if change.change == 'insert' then
      redis.call('HSET', reserved_ids, change.task, txn)
      local key = wanted_key(change)
      if key then
        log_former_holder(select(2, key_holder(key)))
        redis.call('HINCRBY', reserved_keys, key, 1)
      end
    elseif change.change == 'mark' then
      redis.call('SADD', reserved_marks, change.key)
    end
  end
  set_pins(batch, txn)
end

-- Frees what `lock` reserved; returns the tasks that were pinned.
local function unlock(batch)
  for _, change in ipairs(batch) do
    if change.change == 'insert' then
      redis.call('HDEL', reserved_ids, change.task)
      local key = wanted_key(change)
      if key and redis.call('HINCRBY', reserved_keys, key, -1) == 0 then
        redis.call('HDEL', reserved_keys, key)
      end
      topics['settled:' .. change.task] = true
    elseif change.change == 'mark' then
      redis.call('SREM', reserved_marks, change.key)
    end
  end
  return set_pins(batch, nil)
end

-- Lets go on what a batch kept from it while it was staged.
local function let_go_on(ids)
  for _, id in ipairs(ids) do go_on(id) end
end
