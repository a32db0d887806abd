-- ARGV: what to look at, from which place, how much. Returns the place of the next page, or nothing
-- but `0` after the last, then faults.
local what, from, page = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local faults = {}

local function expect(is_so, ...)
  if not is_so then faults[#faults + 1] = table.concat({ ... }) end
end

local function stands_in(zset, member) return redis.call('ZSCORE', zset, member) end

-- Whether a task is in the line of its state, and in no other.
local function check_line(id, task)
  local lines = {
    ready = ready_key(task.queue, task.priority),
    scheduled = due_key(task.queue),
    claimed = task.holder and held_key(task.holder, task.queue),
  }
  for state, line in pairs(lines) do
    local is_there = line and stands_in(line, place(id, task)) and true or false
    local should = state == task.state and not task.pin
    expect(is_there == should, 'task ', id, ' is ', task.state, ', and ', is_there and '' or 'not ', 'in ', line or state)
  end
end

-- Whether those who have places in a group hold them, and are not too many; asked of the first of them.
local function check_group(group, member)
  local members = redis.call('ZRANGE', places_key(group), 0, -1)
  if members[1] ~= member then return end
  local most = 0
  for _, holder in ipairs(members) do
    local task = load(id_of(holder))
    local holds = task and holds_group(task) and task.group == group
    expect(holds, 'the group `', group, '` leads astray')
    if holds then most = math.max(most, limit_of(task)) end
  end
  expect(#members <= most, 'more tasks of the group `', group, '` may run than it has places')
end

local function check_task(id, task)
  check_line(id, task)
  expect(redis.call('EXISTS', body_key(id)) == 1, 'task ', id, ' has no body')
  if task.holds_key or task.still_named then
    expect(redis.call('HGET', unique_keys, task.unique) == id, 'task ', id, ' does not hold its key')
  end
  if holds_group(task) then
    expect(stands_in(places_key(task.group), place(id, task)), 'task ', id, ' has no place in its group')
    check_group(task.group, place(id, task))
  end
  if waits_for_group(task) then
    expect(stands_in(group_key(task.group), place(id, task)), 'task ', id, ' does not wait for its group')
  end
  if kept_until(task) then expect(stands_in(leaving, id), 'task ', id, ' never leaves') end
  if task.state == 'claimed' and not task.pin then
    expect(redis.call('ZSCORE', leases, task.holder), 'the holder of task ', id, ' has no lease')
    local is_listed = redis.call('SISMEMBER', holds_key(task.holder), task.queue) == 1
    expect(is_listed, 'the holder of task ', id, ' is not listed with its queue')
  end
  for _, object in ipairs(objects(task)) do
    expect(stands_in(about_key(object), id), 'task ', id, ' is not listed by `', object, '`')
  end
end

local looks = {}

-- By the sequence of tasks.
function looks.tasks()
  local ids = redis.call('ZRANGE', tasks, '(' .. text(from), '+inf', 'BYSCORE', 'LIMIT', 0, page)
  for _, id in ipairs(ids) do
    local task = load(id)
    expect(task, 'task ', id, ' is listed, but missing')
    if task then check_task(id, task) end
  end
  return #ids == page and redis.call('ZSCORE', tasks, ids[#ids]) or '0'
end

-- The members of every line lead to tasks, and are counted.
function looks.lines()
  local fields, total = redis.call('HGETALL', meta), 0
  for i = 1, #fields, 2 do
    local state, queue = string.match(fields[i], '^(%a+):(.*)$')
    local number = state and tonumber(fields[i + 1]) or 0
    total = total + number
    local in_line = 0
    if state == 'ready' then
      for _, priority in ipairs(redis.call('SMEMBERS', bands_key(queue))) do
        in_line = in_line + redis.call('ZCARD', ready_key(queue, priority))
      end
      expect(in_line <= number, 'the line of `', queue, '` is longer than its tasks')
    elseif state == 'scheduled' then
      in_line = redis.call('ZCARD', due_key(queue))
      expect(in_line <= number, 'more is due in `', queue, '` than is scheduled')
    end
  end
  expect(total == redis.call('ZCARD', tasks), 'the counts differ from the tasks')
  return '0'
end

-- Names lead to tasks that have them.
function looks.names()
  local function each(hash, check)
    local all = redis.call('HGETALL', hash)
    for i = 1, #all, 2 do check(all[i], all[i + 1]) end
  end
  each(unique_keys, function(name, id)
    local task = load(id)
    expect(task and (task.holds_key or task.still_named) and task.unique == name, 'the key `', name, '` leads astray')
  end)
  each(resters, function(name)
    expect(redis.call('ZSCORE', resting, name), 'the key `', name, '` rests for ever')
  end)
  each(claims, function(id) expect(load(id), 'the claim of task ', id, ' leads nowhere') end)
  each(aliases, function(alias, id) expect(load(id), 'the alias ', alias, ' leads nowhere') end)
  each(reserved_ids, function(id, txn)
    expect(redis.call('EXISTS', staged_key(txn)) == 1, 'task ', id, ' is reserved by nobody')
  end)
  return '0'
end

function looks.staged()
  local txns = redis.call('ZRANGE', staged, from, from + page - 1)
  for _, txn in ipairs(txns) do
    local fields = load_staged(txn)
    expect(fields, 'transaction ', txn, ' is in doubt, but has no batch')
    for _, change in ipairs(fields and cjson.decode(fields.batch) or {}) do
      if change.change == 'insert' then
        expect(redis.call('HGET', reserved_ids, change.task) == txn, 'task ', change.task, ' is not reserved')
        expect(redis.call('EXISTS', body_key(change.task)) == 1, 'task ', change.task, ' has no body')
      elseif change.change == 'settle' then
        local _, task = find(change.task)
        expect(task and task.pin == txn, 'task ', change.task, ' is not pinned')
      end
    end
  end
  return #txns == page and text(from + page) or '0'
end

return answer(function()
  local next_page = looks[what]()
  return { next_page, unpack(faults, 1, 100) }
end)
