-- What becomes of a task: the rules of `store::lifecycle`, over the fields of a task's hash. A test
-- compares this table with `State::after`.

-- A text, because a script makes each table anew whenever it is called.
local MAY = [[
  Publish: staged -> ready
  PublishLater: staged -> scheduled
  PublishBlocked: staged -> waiting
  Due: scheduled -> ready
  Due: scheduled -> waiting
  Unblock: waiting -> ready
  Unblock: waiting -> scheduled
  GiveWay: ready -> waiting
  Claim: ready -> claimed
  Done: claimed -> done
  Fail: claimed -> ready
  Fail: claimed -> scheduled
  Bury: claimed -> dead
  Release: claimed -> ready
  Release: claimed -> scheduled
  Reclaim: claimed -> claimed
  Reclaim: claimed -> ready
  Cancel: waiting -> cancelled
  Cancel: scheduled -> cancelled
  Cancel: ready -> cancelled
  Revive: dead -> ready
  Revive: dead -> scheduled
  Revive: dead -> waiting
  Revive: cancelled -> ready
  Revive: cancelled -> scheduled
  Revive: cancelled -> waiting
  Revive: done -> ready
  Revive: done -> scheduled
  Revive: done -> waiting
  Reschedule: scheduled -> ready
  Reschedule: scheduled -> scheduled
  Reschedule: scheduled -> waiting
  Reschedule: ready -> ready
  Reschedule: ready -> scheduled
  Reschedule: ready -> waiting
  Reschedule: waiting -> waiting
]]

local PENDING = { waiting = true, scheduled = true, ready = true }
local ENDED = { done = true, dead = true, cancelled = true }
local AGEING = 300000000

local function enter(id, task, event, state)
  local change = event .. ': ' .. task.state .. ' -> ' .. state .. '\n'
  if not string.find(MAY, change, 1, true) then
    refuse('StateChanged', id, task.state)
  end
  task.state = state
end

-- Where a task goes that nothing but time and its group can hold back.
local function pending(not_before, is_busy)
  if not_before and tonumber(not_before) > now then return 'scheduled' end
  return is_busy and 'waiting' or 'ready'
end

local function rank(task)
  local at = tonumber(task.published_at or '0')
  local ageing = tonumber(task.ageing) or AGEING
  return math.max(at, tonumber(task.not_before) or at) + ageing * task.priority
end

-- Whether a task in its state keeps others from its unique key.
local function keeps_key(task)
  return PENDING[task.state] or (task.unique_runs and task.state == 'claimed')
end

-- Of two instants, of which either may be missing, the later.
local function later(one, other)
  if not one or not other then return one or other end
  return tonumber(one) < tonumber(other) and other or one
end

-- One that was published elsewhere keeps the time of that; one that ended there stays as it is.
local function publish(id, task, is_busy)
  if ENDED[task.state] then
    task.delay = nil
    return
  end
  local delayed = task.delay and not task.published_at and text(now + task.delay) or nil
  local not_before = later(task.not_before, delayed)
  local state = task.unmet and 'waiting' or pending(not_before, is_busy)
  local events = { waiting = 'PublishBlocked', scheduled = 'PublishLater', ready = 'Publish' }
  enter(id, task, events[state], state)
  task.not_before, task.delay = not_before, nil
  task.published_at = task.published_at or text(now)
end

-- Ends a task; returns whether it leaves.
local function finish(task)
  task.ended_at = text(now)
  return task.state == 'done' and not task.retention
end

-- Until when the unique key of a task rests, as far as can be told by now.
local function rests_until(task)
  local enqueued = task.rest_enqueued and task.published_at + task.rest_enqueued
  local has_ended = task.ended_at and task.state ~= 'cancelled'
  local ended = has_ended and task.rest_ended and task.ended_at + task.rest_ended
  return math.max(enqueued or 0, ended or 0)
end

-- Until when an ended task is kept, if it leaves by itself.
local function kept_until(task)
  if task.state == 'done' then return task.ended_at + (task.retention or 0) end
end

local verdicts = {}

function verdicts.done(id, task)
  enter(id, task, 'Done', 'done')
  return finish(task)
end

function verdicts.retry(id, task, change)
  enter(id, task, 'Fail', pending(change.at, false))
  task.not_before = change.at
end

function verdicts.bury(id, task, change)
  enter(id, task, 'Bury', 'dead')
  task.dead = change.reason
  return finish(task)
end

function verdicts.release(id, task, change)
  local not_before = change.at or task.not_before
  enter(id, task, 'Release', pending(not_before, false))
  task.not_before = not_before
end

local COUNTS = { 'attempts', 'conflicts', 'reclaims' }

-- Counts that are zero are not kept.
local function set_counts(task, counts)
  for i, name in ipairs(COUNTS) do
    task[name] = counts[i] > 0 and text(counts[i]) or nil
  end
end

local amendments = {}

local function refuse_claimed(id, task)
  if task.state == 'claimed' then refuse('StateChanged', id, task.state) end
end

function amendments.cancel(id, task)
  enter(id, task, 'Cancel', 'cancelled')
  return finish(task)
end

function amendments.revive(id, task, _, is_busy)
  local not_before = later(task.not_before, text(now))
  enter(id, task, 'Revive', pending(not_before, is_busy))
  task.not_before = not_before
  set_counts(task, { 0, 0, 0 })
  task.dead, task.ended_at, task.progress, task.unmet = nil, nil, nil, nil
end

function amendments.reschedule(id, task, change, is_busy)
  local state = task.state == 'waiting' and 'waiting' or pending(change.at, is_busy)
  enter(id, task, 'Reschedule', state)
  task.not_before = change.at
end

function amendments.move(id, task, change)
  refuse_claimed(id, task)
  task.queue = change.queue
end

function amendments.progress(_, task, change)
  task.progress = change.text
end

function amendments.remove(id, task)
  refuse_claimed(id, task)
  return true
end
