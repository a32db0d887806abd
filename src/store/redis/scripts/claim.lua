-- A claim of whatever there is, which `claim_plain.lua` has left.
local incarnation, name, lease = ARGV[3], ARGV[4], tonumber(ARGV[5])
local token_first, token_count = tonumber(ARGV[6]), tonumber(ARGV[7])
local PROMOTIONS_MAX = 1000
local lives_at = server_time()
local given, bodies, reclaimed = {}, {}, {}
local is_logged = false

-- Lets go on the tasks of a queue whose time came.
local function promote(queue)
  local due = redis.call('ZRANGE', due_key(queue), '-inf', now, 'BYSCORE', 'LIMIT', 0, PROMOTIONS_MAX)
  for _, member in ipairs(due) do
    local id = id_of(member)
    local task = copy(load(id))
    enter(id, task, 'Due', pending(task.not_before, is_busy(id, task)))
    change_to(id, task)
    if task.group then pass_on(task.group) end
    is_logged = true
  end
end

local function take(candidates, line, want)
  local found = redis.call('ZRANGE', line, 0, want - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    candidates[#candidates + 1] = { member = found[i], rank = tonumber(found[i + 1]) }
  end
end

-- The first tasks of a queue in one order: Ready, or held by those who are proved dead.
local function candidates_of(queue, want)
  local candidates = {}
  for _, priority in ipairs(redis.call('SMEMBERS', bands_key(queue))) do
    take(candidates, ready_key(queue, priority), want)
  end
  for _, dead in ipairs(redis.call('ZRANGE', leases, '-inf', '(' .. text(lives_at), 'BYSCORE')) do
    if not holds_any(dead) then
      redis.call('ZREM', leases, dead)
      redis.call('UNLINK', holds_key(dead))
      redis.call('HDEL', store .. 'fences', dead)
    else
      take(candidates, held_key(dead, queue), want)
    end
  end
  table.sort(candidates, function(one, other)
    if one.rank ~= other.rank then return one.rank < other.rank end
    return one.member < other.member
  end)
  return candidates
end

-- Tokens of one incarnation sort as texts.
local function token_of(number) return string.format('%s%016x', incarnation, token_first + number) end

local function give(id)
  local task = copy(load(id))
  local is_reclaimed = task.state == 'claimed'
  if is_reclaimed then
    enter(id, task, 'Reclaim', 'ready')
    task.reclaims = text((tonumber(task.reclaims) or 0) + 1)
    reclaimed[#reclaimed + 1] = tostring(#given + 1)
  end
  enter(id, task, 'Claim', 'claimed')
  -- What counts is logged.
  task.unlogged = not is_reclaimed and '1' or nil
  task.still_named = task.unlogged and not task.unique_runs and task.holds_key or nil
  is_logged = is_logged or not task.unlogged
  task.holder, task.holder_name, task.claimed_at = incarnation, name, text(now)
  task.token = token_of(#given)
  change_to(id, task)
  given[#given + 1] = redis.call('GET', task_key(id))
  bodies[#given] = redis.call('GET', body_key(id))
end

return answer(function()
  local fence = redis.call('HGET', store .. 'fences', incarnation)
  if fence and token_of(0) <= fence then return { given, bodies, reclaimed } end
  live()
  for i = 8, #ARGV, 2 do
    local queue, want = ARGV[i], tonumber(ARGV[i + 1])
    promote(queue)
    for place, candidate in ipairs(candidates_of(queue, want)) do
      if place > want or #given >= token_count then break end
      give(id_of(candidate.member))
    end
  end
  if is_logged then keep_time() elseif #given > 0 then unlogged(keep_time) end
  commit()
  return { given, bodies, reclaimed }
end, undo)
