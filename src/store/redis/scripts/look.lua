-- ARGV: interests. Returns which may be served, counted from 1, or 0, when to look again, and after how long; who looks
-- in vain is woken by the first that changes something.
local interests = cjson.decode(ARGV[3])
local lives_at = server_time()

local served = {}

function served.ready(interest)
  if has_ready(interest.name) then return true end
  local due = redis.call('ZRANGE', due_key(interest.name), 0, 0, 'WITHSCORES')
  if due[2] and tonumber(due[2]) <= now then return true end
  for _, dead in ipairs(redis.call('ZRANGE', leases, '-inf', '(' .. text(lives_at), 'BYSCORE')) do
    if not is_empty(held_key(dead, interest.name)) then return true end
  end
end

function served.settled(interest)
  local _, task = find(interest.name)
  if task then return ENDED[task.state] end
  return redis.call('HEXISTS', reserved_ids, interest.name) == 0
end

function served.mark(interest)
  return (redis.call('HGET', marks, interest.name) or nil) ~= ARGV[interest.value]
end

-- When the next scheduled task is due.
local function next_due()
  local next_at
  for _, interest in ipairs(interests) do
    local line = interest.kind == 'ready' and due_key(interest.name)
    local due = line and redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')[2]
    if due and (not next_at or tonumber(due) < next_at) then next_at = tonumber(due) end
  end
  return next_at and text(next_at) or ''
end

-- How long until the next lease ends of somebody who holds something.
local function next_lease()
  for _, member in ipairs(redis.call('ZRANGE', leases, text(lives_at), '+inf', 'BYSCORE', 'LIMIT', 0, 16)) do
    if holds_any(member) then return text(redis.call('ZSCORE', leases, member) - lives_at) end
  end
  return ''
end

return answer(function()
  for number, interest in ipairs(interests) do
    if served[interest.kind](interest) then return { number, '', '' } end
  end
  unlogged(function()
    for _, interest in ipairs(interests) do
      local name = interest.name
      if interest.kind == 'settled' then name = find(name) or name end
      redis.call('SADD', waiting, interest.kind .. ':' .. name)
    end
  end)
  return { 0, next_due(), next_lease() }
end)
