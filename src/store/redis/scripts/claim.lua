-- ARGV: incarnation, name, lease in microseconds, tokens, wants. Returns for each claim its token,
-- whether it was reclaimed, the fields of the task and its body.
local incarnation, name, lease = ARGV[3], ARGV[4], tonumber(ARGV[5])
local tokens, wants = cjson.decode(ARGV[6]), cjson.decode(ARGV[7])
local PROMOTIONS_MAX = 1000
local lives_at = server_time()
local claims = {}
local is_logged = false

-- A claim is a sign of life. The lease is renewed when half of it is over, so that an idle claim
-- seldom writes.
local function live()
  local until_ = redis.call('ZSCORE', leases, incarnation)
  if not until_ or tonumber(until_) < lives_at + lease / 2 then
    redis.call('ZADD', leases, lives_at + lease, incarnation)
  end
end

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
    if is_empty(holds_key(dead)) then
      redis.call('ZREM', leases, dead)
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

local function fields_of(task)
  local flat = {}
  for field, value in pairs(task) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  return flat
end

local function give(id)
  local task = copy(load(id))
  local is_reclaimed = task.state == 'claimed'
  if is_reclaimed then
    enter(id, task, 'Reclaim', 'ready')
    task.reclaims = text((tonumber(task.reclaims) or 0) + 1)
  end
  enter(id, task, 'Claim', 'claimed')
  local token = tokens[#claims + 1]
  -- What frees a key, or counts, is logged.
  task.unlogged = not is_reclaimed and not task.unique and '1' or nil
  is_logged = is_logged or not task.unlogged
  task.holder, task.holder_name, task.token, task.claimed_at = incarnation, name, token, text(now)
  change_to(id, task)
  claims[#claims + 1] = {
    token, is_reclaimed and 1 or 0, fields_of(load(id)), redis.call('GET', body_key(id)), id,
  }
end

return answer(function()
  local fence = redis.call('HGET', store .. 'fences', incarnation)
  if fence and tokens[1] and tokens[1] <= fence then return claims end
  live()
  for _, want in ipairs(wants) do
    promote(want.queue)
    for i, candidate in ipairs(candidates_of(want.queue, want.count)) do
      if i > want.count or #claims >= #tokens then break end
      give(id_of(candidate.member))
    end
  end
  if is_logged then keep_time() elseif #claims > 0 then unlogged(keep_time) end
  commit()
  return claims
end, undo)
