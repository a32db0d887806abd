-- ARGV: an incarnation, and the first and last token of a claim whose answer was lost. Tasks that it gave out
-- are Ready again, and if it comes late it gives out none.
local incarnation, first, last = ARGV[3], ARGV[4], ARGV[5]

local function release(id)
  local task = copy(load(id))
  if not task.token or task.token < first or task.token > last then return end
  enter(id, task, 'Release', pending(task.not_before, false))
  for _, field in ipairs(CLAIM) do task[field] = nil end
  follow(id, task, false)
end

return answer(function()
  local fence = redis.call('HGET', store .. 'fences', incarnation)
  if not fence or fence < last then redis.call('HSET', store .. 'fences', incarnation, last) end
  for _, queue in ipairs(redis.call('SMEMBERS', holds_key(incarnation))) do
    for _, member in ipairs(redis.call('ZRANGE', held_key(incarnation, queue), 0, -1)) do
      release(id_of(member))
    end
  end
  commit()
  return 0
end, undo)
