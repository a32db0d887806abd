-- ARGV: an incarnation that is no more. What it holds may be taken at once.
local incarnation = ARGV[3]

return answer(function()
  redis.call('HDEL', store .. 'fences', incarnation)
  local queues = redis.call('SMEMBERS', holds_key(incarnation))
  if #queues == 0 then
    redis.call('ZREM', leases, incarnation)
    return 0
  end
  redis.call('ZADD', leases, 0, incarnation)
  for _, queue in ipairs(queues) do topics['ready:' .. queue] = true end
  commit()
  return 0
end)
