-- The visible tasks, and where they are found. What the index says of a task is a function of the
-- task's own fields: `enter_index` adds it, `leave_index` takes the very same away.
--
-- A claim need not outlive the server: a lost claim is one that never was. So it is not logged to the
-- append-only file, and does not wait for the disk; what is logged says that the task is Ready. Such a
-- claim is kept apart from its task. Whoever changes a claimed task first makes it Ready again, and logs
-- what the file may not have: a rewrite of the file writes down what is in memory, claims included.
-- Counts are those of the file.
--
-- A task is never changed in place: a changed copy is `put` in its stead, and what was there before is
-- noted, so that all of a refused batch can be undone.

local tasks = store .. 'tasks'
local claims = store .. 'claims'
local aliases = store .. 'aliases'
local unique_keys = store .. 'unique'
local resting = store .. 'resting'
local resters = store .. 'resters'
local leaving = store .. 'leaving'
local leases = store .. 'leases'
local marks = store .. 'marks'
local waiting = store .. 'waiting'
local reserved_ids = store .. 'reserved:ids'
local reserved_keys = store .. 'reserved:keys'
local reserved_marks = store .. 'reserved:marks'

local known = {} -- tasks by id, as they are now; `false` is missing
local journal = {} -- how to undo what was done, the latest last
local dropped = {} -- ids whose bodies go if the script succeeds
local topics = {} -- what to tell those who wait
local former_names = {} -- the other names of tasks that are not listed any more

local function task_key(id) return store .. 'task:' .. id end
local function body_key(id) return store .. 'body:' .. id end
local function bands_key(queue) return store .. 'bands:' .. queue end
local function ready_key(queue, priority) return store .. 'ready:' .. priority .. ':' .. queue end
local function due_key(queue) return store .. 'due:' .. queue end
local function holds_key(holder) return store .. 'holds:' .. holder end
local function held_key(holder, queue) return store .. 'held:' .. holder .. ':' .. queue end
local function group_key(group) return store .. 'group:' .. group end
local function places_key(group) return store .. 'places:' .. group end
local function about_key(object) return store .. 'about:' .. object end
local function names_key(id) return store .. 'names:' .. id end

-- The field of `meta` that counts the tasks of a queue in one state.
local function counted(state, queue) return state .. ':' .. queue end

-- A member of a line: those of equal rank stand in the order of the store's sequence.
local function place(id, task) return string.format('%016d:%s', task.seq, id) end
local function id_of(member) return string.sub(member, 18) end

-- How many tasks of its group may run at the same time, as far as this one goes.
local function limit_of(task) return tonumber(task.group_limit) or 1 end

-- The kinds of tasks that are claimed many at a time, because they are Ready: with nothing to do when they are done;
-- with no more than a unique key to free that only what is pending holds, or a group to pass on; with more to do. Then
-- one that waits for nothing but its group, and has no more to do either; one that is Claimed by a claim that is
-- logged, with nothing to do; and all others.
local PLAIN, LIMITED, BOUND, WAITING, CLAIMED, OTHER = '.', ':', ',', '=', ';', '+'

local function kind_of(task)
  if task.pin or task.unique_runs then return OTHER end
  local rests = task.rest_enqueued or task.rest_ended
  local is_bound = rests or task.about or task.aliases or task.retention
  if task.state == 'ready' then
    if is_bound then return BOUND end
    return (task.unique or task.group) and LIMITED or PLAIN
  elseif task.state == 'waiting' then
    local waits_for_more = not task.group or task.unmet or task.not_before
    return not is_bound and not waits_for_more and WAITING or OTHER
  end
  return task.state == 'claimed' and not is_bound and not task.group and CLAIMED or OTHER
end

local function state_of(kind)
  if kind == WAITING then return 'waiting' end
  return kind == CLAIMED and 'claimed' or 'ready'
end

-- A text of up to 255 bytes, where it can be read without what is behind it.
local function sized(name) return string.char(#name) .. name end

-- The key of a task, its group and how many places that has, where one of these may be; each of a length that they
-- tell.
local NO_LIMITS = sized('') .. sized('') .. '0000'

local function limits_of(task)
  return sized(task.unique or '') .. sized(task.group or '') .. string.format('%04d', limit_of(task))
end

-- Where these end in a text, if they begin at a place.
local function limits_end(kept, first)
  local group = first + 1 + string.byte(kept, first)
  return group + string.byte(kept, group) + 4
end

-- A task as it is kept: its kind, which says in which state it is unless that is any other. Then, of one with a key or
-- a group alone, its limits, queue and priority. Then its fields in MessagePack.
local function packed(task)
  local kind, head, state = kind_of(task), '', task.state
  if kind == LIMITED or kind == WAITING then
    head = limits_of(task) .. sized(task.queue) .. sized(task.priority)
  end
  if kind ~= OTHER then task.state = nil end
  local fields = cmsgpack.pack(task)
  task.state = state
  return kind .. head .. fields
end

-- The queue and the priority of a task as it is kept, if its limits end at a place; and where its fields begin.
local function queue_behind(kept, last)
  local queue_end = last + 1 + string.byte(kept, last + 1)
  local priority_end = queue_end + 1 + string.byte(kept, queue_end + 1)
  return string.sub(kept, last + 2, queue_end), string.sub(kept, queue_end + 2, priority_end), priority_end + 1
end

local function unpacked(kept)
  local kind, first = string.sub(kept, 1, 1), 2
  if kind == LIMITED or kind == WAITING then first = select(3, queue_behind(kept, limits_end(kept, 2))) end
  local task = cmsgpack.unpack(string.sub(kept, first))
  task.state = task.state or state_of(kind)
  return task
end

-- A claim that is not logged, as it is kept: its token of 32 letters, the task's sequence of 16 digits, its limits,
-- then in MessagePack the time, the name of its holder, and the queue, priority and kind of a task that is claimed with
-- many.
local function packed_claim(logged, claim)
  local tail, kind = { claim.claimed_at, claim.holder_name }, kind_of(logged)
  if kind ~= OTHER then tail[3], tail[4], tail[5] = logged.queue, logged.priority, kind end
  local limits = kind == LIMITED and limits_of(logged) or NO_LIMITS
  return claim.token .. string.format('%016d', logged.seq) .. limits .. cmsgpack.pack(tail)
end

-- A key is free when its task starts. Its entry stays as it is logged, and is `still_named` after the task.
local function add_claim(task, claim)
  local tail = cmsgpack.unpack(string.sub(claim, 1 + limits_end(claim, 49)))
  task.state, task.unlogged = 'claimed', '1'
  task.holder, task.token = string.sub(claim, 1, 16), string.sub(claim, 1, 32)
  task.claimed_at, task.holder_name = tail[1], tail[2]
  if not task.unique_runs then task.still_named, task.holds_key = task.holds_key, nil end
end

local function load(id)
  if known[id] == nil then
    local kept = redis.call('GET', task_key(id))
    local claim = kept and redis.call('HGET', claims, id)
    known[id] = kept and unpacked(kept)
    if claim then add_claim(known[id], claim) end
  end
  return known[id]
end

-- What whoever looks at a task is told: the task, its unlogged claim, its body, its id.
local function shown(id)
  return { redis.call('GET', task_key(id)), redis.call('HGET', claims, id), redis.call('GET', body_key(id)), id }
end

-- Finds a task by its id or by that of one that merged into it.
local function find(id)
  if load(id) then return id, load(id) end
  local holder = redis.call('HGET', aliases, id)
  if holder then return holder, load(holder) end
end

local function copy(task)
  local other = {}
  for field, value in pairs(task) do other[field] = value end
  return other
end

local function holds_group(task)
  return task.group and (task.state == 'ready' or task.state == 'claimed')
end

-- Whether nothing but its busy group holds a task back, and no staged batch settles its fate.
local function waits_for_group(task)
  return task.group and task.state == 'waiting' and not task.unmet and not task.pin
end

-- Whether a task that goes on now has to wait for its group: the places are taken, or somebody is before it, or
-- may be.
local function is_busy(id, task)
  if not task.group then return false end
  local holders = redis.call('ZCARD', places_key(task.group))
  if known[id] and holds_group(known[id]) then holders = holders - 1 end
  return holders >= limit_of(task) or not is_empty(group_key(task.group))
end

-- Whether somebody has claimed tasks. Queues may be listed in which it has none: who listed them died, and so did the
-- server.
local function holds_any(holder)
  for _, queue in ipairs(redis.call('SMEMBERS', holds_key(holder))) do
    if not is_empty(held_key(holder, queue)) then return true end
  end
  return false
end

-- Lists a task where a claim may find it.
local function enter_line(id, task)
  if task.state == 'ready' then
    redis.call('ZADD', ready_key(task.queue, task.priority), rank(task), place(id, task))
    redis.call('SADD', bands_key(task.queue), task.priority)
  elseif task.state == 'claimed' then
    redis.call('ZADD', held_key(task.holder, task.queue), rank(task), place(id, task))
    redis.call('SADD', holds_key(task.holder), task.queue)
    -- Whoever holds something is either known to live or known to be dead.
    redis.call('ZADD', leases, 'NX', 0, task.holder)
  elseif task.state == 'scheduled' then
    redis.call('ZADD', due_key(task.queue), task.not_before, place(id, task))
  end
end

local function leave_line(id, task)
  if task.state == 'ready' then
    redis.call('ZREM', ready_key(task.queue, task.priority), place(id, task))
  elseif task.state == 'claimed' then
    local held = held_key(task.holder, task.queue)
    redis.call('ZREM', held, place(id, task))
    if is_empty(held) then redis.call('SREM', holds_key(task.holder), task.queue) end
  elseif task.state == 'scheduled' then
    redis.call('ZREM', due_key(task.queue), place(id, task))
  end
end

-- Counts so many tasks more or less of a queue in one state. The counts are beside the clock, so that one command
-- writes both.
local function recount(queue, state, by)
  local field = counted(state, queue)
  if redis.call('HINCRBY', meta, field, by) > 0 then return end
  redis.call('HDEL', meta, field)
  if state == 'ready' then redis.call('UNLINK', bands_key(queue)) end
end

-- As what a task is counted: pinned claims apart from others, which tells how many are not logged.
local function count(task, by)
  recount(task.queue, task.state == 'claimed' and task.pin and 'pinned' or task.state, by)
end

local function counted_as(state, queue)
  return tonumber(redis.call('HGET', meta, counted(state, queue)) or '0')
end

-- Claims that are not logged are counted as Ready.
local function held_in(queue)
  local held = 0
  for _, holder in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    held = held + redis.call('ZCARD', held_key(holder, queue))
  end
  return held
end

-- How many tasks of a queue have not started.
local function pending_in(queue)
  local unlogged_count = held_in(queue) - counted_as('claimed', queue)
  local not_ready = counted_as('waiting', queue) + counted_as('scheduled', queue)
  return not_ready + counted_as('ready', queue) - unlogged_count
end

local function unlogged(change)
  redis.set_repl(redis.REPL_NONE)
  change()
  redis.set_repl(redis.REPL_ALL)
end

local function enter_index(id, task)
  count(task, 1)
  if task.holds_key then redis.call('HSET', unique_keys, task.unique, id) end
  if holds_group(task) then redis.call('ZADD', places_key(task.group), rank(task), place(id, task)) end
  if waits_for_group(task) then
    redis.call('ZADD', group_key(task.group), rank(task), place(id, task))
  end
  if kept_until(task) then redis.call('ZADD', leaving, kept_until(task), id) end
  if task.state == 'claimed' and not task.pin then
    -- What changes nothing in memory is not logged, and there a claim that is not logged may have listed this queue.
    unlogged(function() redis.call('SREM', holds_key(task.holder), task.queue) end)
  end
  if not task.pin then enter_line(id, task) end
  if ENDED[task.state] then topics['settled:' .. id] = true end
end

local function leave_index(id, task)
  count(task, -1)
  if task.holds_key then redis.call('HDEL', unique_keys, task.unique) end
  if holds_group(task) then redis.call('ZREM', places_key(task.group), place(id, task)) end
  if waits_for_group(task) then redis.call('ZREM', group_key(task.group), place(id, task)) end
  if kept_until(task) then redis.call('ZREM', leaving, id) end
  if not task.pin then leave_line(id, task) end
end

local function add_alias(alias, id)
  redis.call('HSET', aliases, alias, id)
  redis.call('SADD', names_key(id), alias)
end

-- The objects that a task is about.
local function objects(task) return task.about and cjson.decode(task.about) or {} end

-- Lists a task where it is found for as long as it exists.
local function enlist(id, task)
  redis.call('ZADD', tasks, task.seq, id)
  for _, object in ipairs(objects(task)) do redis.call('ZADD', about_key(object), task.seq, id) end
  if task.aliases then
    for _, alias in ipairs(former_names[id]) do add_alias(alias, id) end
  end
end

local function delist(id, task)
  redis.call('ZREM', tasks, id)
  for _, object in ipairs(objects(task)) do redis.call('ZREM', about_key(object), id) end
  if task.aliases then
    former_names[id] = redis.call('SMEMBERS', names_key(id))
    redis.call('UNLINK', names_key(id))
    for _, alias in ipairs(former_names[id]) do
      redis.call('HDEL', aliases, alias)
      topics['settled:' .. alias] = true
    end
  end
  topics['settled:' .. id] = true
end

local CLAIM = { 'holder', 'token', 'holder_name', 'claimed_at', 'unlogged', 'still_named' }

-- The task as it is logged.
local function as_logged(task)
  if not task or not task.unlogged then return task end
  local logged = copy(task)
  logged.holds_key = task.holds_key or task.still_named
  for _, field in ipairs(CLAIM) do logged[field] = nil end
  logged.state = 'ready'
  return logged
end

local function is_same(one, other)
  if not one or not other then return one == other end
  for field, value in pairs(one) do if other[field] ~= value then return false end end
  for field in pairs(other) do if one[field] == nil then return false end end
  return true
end

-- Makes a task Ready again whose claim is not logged. What the claim took away the file has still, unless it
-- was rewritten meanwhile: so if the task `stays` as it was logged, its place is logged again.
local function take_back(id, task, stays)
  local logged = as_logged(task)
  leave_line(id, task)
  redis.call('HDEL', claims, id)
  if stays then enter_line(id, logged) else unlogged(function() enter_line(id, logged) end) end
  known[id] = logged
end

-- Claims a Ready task without logging it.
local function give_out(id, task)
  unlogged(function()
    leave_line(id, known[id])
    redis.call('HSET', claims, id, packed_claim(known[id], task))
    enter_line(id, task)
  end)
  known[id] = task
end

-- Puts `after` in the place of a task as it is logged; either may be `false`, for missing.
local function exchange(id, after)
  local before = known[id]
  if is_same(before, after) then return end
  if before then leave_index(id, before) end
  if before and not after then
    delist(id, before)
    redis.call('UNLINK', task_key(id))
  end
  known[id] = after
  if not after then return end
  redis.call('SET', task_key(id), packed(after))
  if not before then enlist(id, after) end
  enter_index(id, after)
end

-- Puts `after` in the place of a task.
local function replace(id, after)
  local before = known[id]
  local logged = as_logged(after)
  if before and before.unlogged then take_back(id, before, is_same(as_logged(before), logged)) end
  exchange(id, logged)
  if not after then return end
  if after.unlogged then give_out(id, after) end
  if after.state == 'ready' or after.state == 'scheduled' then
    topics['ready:' .. after.queue] = true
  end
end

local function put(id, after)
  journal[#journal + 1] = { id = id, task = known[id] or false }
  replace(id, after)
end

local function remove(id)
  put(id, false)
  dropped[#dropped + 1] = id
end

-- The task that holds a unique key, if any. If none does, the second is that whose name its entry still has.
local function key_holder(key)
  local id = redis.call('HGET', unique_keys, key)
  local task = id and load(id)
  if not task then return nil end
  if task.holds_key then return id end
  return nil, id
end

-- A copy of a task whose claim, if it has one, is to outlive the server.
local function as_lasting(id)
  local task = copy(load(id))
  task.unlogged, task.still_named = nil, nil
  return task
end

-- Before a free key is reserved, or taken by the task `id`: if its entry still has the name of another, the claim by
-- which that started is logged, since somebody relies on it now.
local function log_former_holder(former, id)
  if former and former ~= id then put(former, as_lasting(former)) end
end

-- Whether a task holds its unique key after a change.
local function may_hold_key(before, after)
  if not after.unique or not keeps_key(after) then return nil end
  if before and (before.holds_key or keeps_key(before)) then return before.holds_key end
  local is_free = not key_holder(after.unique) and redis.call('HEXISTS', reserved_keys, after.unique) == 0
  return is_free and '1' or nil
end

-- Changes a task, then lets it give up its unique key, or take it again if it has come back.
local function change_to(id, after)
  after.holds_key = may_hold_key(known[id], after)
  if after.holds_key then log_former_holder(select(2, key_holder(after.unique)), id) end
  put(id, after)
end

-- Makes `alias` another name of a task.
local function merge(alias, id)
  if not load(id).aliases then
    local task = copy(load(id))
    task.aliases = '1'
    put(id, task)
  end
  add_alias(alias, id)
  journal[#journal + 1] = { alias = alias, of = id }
end

local function put_rest(key, at, id)
  if at then
    redis.call('ZADD', resting, text(at), key)
    redis.call('HSET', resters, key, id)
  else
    redis.call('ZREM', resting, key)
    redis.call('HDEL', resters, key)
  end
end

-- Has a key rest until `at` for the sake of a task, or no more.
local function set_rest(key, at, id)
  local before = tonumber(redis.call('ZSCORE', resting, key) or nil)
  journal[#journal + 1] = { rest = key, at = before, id = redis.call('HGET', resters, key) }
  put_rest(key, at, id)
end

-- The task for whose sake a key rests; it may be gone.
local function rester(key)
  local at = redis.call('ZSCORE', resting, key)
  return at and tonumber(at) > now and redis.call('HGET', resters, key)
end

-- Has the unique key of a task rest, if it is to. Two of the rests that are over go for each new one.
local function rest(id, task)
  local at = task.unique and rests_until(task) or 0
  if at <= now then return end
  local known = redis.call('ZSCORE', resting, task.unique)
  if known and tonumber(known) >= at then return end
  for _, over in ipairs(redis.call('ZRANGE', resting, '-inf', now, 'BYSCORE', 'LIMIT', 0, 2)) do
    set_rest(over)
  end
  set_rest(task.unique, at, id)
end

local function end_rest(id, task)
  if task.unique and redis.call('HGET', resters, task.unique) == id then set_rest(task.unique) end
end

local function set_mark(name, value)
  journal[#journal + 1] = { mark = name, value = redis.call('HGET', marks, name) }
  if value then redis.call('HSET', marks, name, value) else redis.call('HDEL', marks, name) end
  topics['mark:' .. name] = true
end

local function undo()
  redis.set_repl(redis.REPL_ALL)
  for i = #journal, 1, -1 do
    local step = journal[i]
    if step.rest then
      put_rest(step.rest, step.at, step.id)
    elseif step.id then
      replace(step.id, step.task)
    elseif step.alias then
      redis.call('HDEL', aliases, step.alias)
      redis.call('SREM', names_key(step.of), step.alias)
    elseif step.value then
      redis.call('HSET', marks, step.mark, step.value)
    else
      redis.call('HDEL', marks, step.mark)
    end
  end
  journal, dropped, topics = {}, {}, {}
end

-- Keeps what was done: drops the bodies of what is gone, and wakes those who wait for what changed.
local function commit()
  for _, id in ipairs(dropped) do
    if not load(id) then redis.call('UNLINK', body_key(id)) end
  end
  if is_empty(waiting) then return end
  -- Who waits looks again whenever it has connected, so that notes need not outlive the server. A rewrite writes them
  -- down all the same, so to take one out is logged.
  for topic in pairs(topics) do
    if redis.call('SREM', waiting, topic) == 1 then
      unlogged(function() redis.call('PUBLISH', store .. 'wake', topic) end)
    end
  end
end

-- Whether something can be claimed from a queue at once.
local function has_ready(queue)
  for _, priority in ipairs(redis.call('SMEMBERS', bands_key(queue))) do
    if not is_empty(ready_key(queue, priority)) then return true end
  end
  return false
end

-- The last task of a group that is Ready, if it comes after a place.
local function last_ready_behind(group, first, first_rank)
  local behind = redis.call('ZRANGE', places_key(group), '+inf', first_rank, 'BYSCORE', 'REV', 'WITHSCORES')
  for i = 1, #behind, 2 do
    if tonumber(behind[i + 1]) == first_rank and behind[i] < first then return nil end
    local id = id_of(behind[i])
    if load(id).state == 'ready' and not load(id).pin then return id end
  end
end

-- Gives the places of a group to those of its tasks that are first: lets the next go on for as long as there is
-- a place, or one that has it and is not claimed yet gives way to it.
local function pass_on(group)
  while true do
    local first = redis.call('ZRANGE', group_key(group), 0, 0)[1]
    if not first then return end
    local id = id_of(first)
    local task = copy(load(id))
    local state = pending(task.not_before, false)
    local holders, limit = redis.call('ZCARD', places_key(group)), limit_of(task)
    if state == 'ready' and holders >= limit then
      local last = holders == limit and last_ready_behind(group, first, rank(task))
      if not last then return end
      local behind = copy(load(last))
      enter(last, behind, 'GiveWay', 'waiting')
      change_to(last, behind)
    end
    enter(id, task, 'Unblock', state)
    change_to(id, task)
  end
end

-- Does what follows from a change of a task: deletes it if it leaves, and passes its group on.
local function follow(id, after, leaves)
  if leaves then remove(id) else change_to(id, after) end
  if after.group then pass_on(after.group) end
end

-- Lets a task go on that waits for nothing any more, and the first of its group if it has one.
local function go_on(id)
  local task = load(id)
  if task and task.group then return pass_on(task.group) end
  if not task or task.state ~= 'waiting' or task.unmet or task.pin then return end
  local after = copy(task)
  enter(id, after, 'Unblock', pending(after.not_before, false))
  change_to(id, after)
end

-- Drops a few of the tasks that are past their retention, but those by which a staged batch was judged.
local function drop_expired()
  for _, id in ipairs(redis.call('ZRANGE', leaving, '-inf', now, 'BYSCORE', 'LIMIT', 0, 16)) do
    local task = load(id)
    if not (task and task.pin) then remove(id) end
  end
end
