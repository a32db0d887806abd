-- ARGV: a task, or one that merged into it. Returns its fields, its body and its own id.
return answer(function()
  local id = find(ARGV[3])
  if not id then return {} end
  return { redis.call('HGETALL', task_key(id)), redis.call('GET', body_key(id)), id }
end)
