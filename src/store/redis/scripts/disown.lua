-- ARGV: an incarnation, and the tokens of a claim whose answer was lost. Tasks that it gave out are
-- Ready again, and if it comes late it gives out none.
local incarnation, tokens = ARGV[3], {}
for _, token in ipairs(cjson.decode(ARGV[4])) do tokens[token] = true end

local function release(id)
  local task = copy(load(id))
  if not tokens[task.token] then return end
  enter(id, task, 'Release', pending(task.not_before, false))
  for _, field in ipairs(CLAIM) do task[field] = nil end
  follow(id, task, false)
end

return answer(function()
  for token in pairs(tokens) do
    local fence = redis.call('HGET', store .. 'fences', incarnation)
    if not fence or fence < token then redis.call('HSET', store .. 'fences', incarnation, token) end
  end
  for _, queue in ipairs(redis.call('SMEMBERS', holds_key(incarnation))) do
    for _, member in ipairs(redis.call('ZRANGE', held_key(incarnation, queue), 0, -1)) do
      release(id_of(member))
    end
  end
  commit()
  return 0
end, undo)
