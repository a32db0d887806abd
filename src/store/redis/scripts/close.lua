-- ARGV: incarnation.
local incarnation = ARGV[3]

return answer(function()
  redis.call('HINCRBY', meta, 'asks', 1)
  local row = redis.call('HGET', meta, incarnation)
  if row then
    redis.call('HSET', meta, incarnation, (string.gsub(row, '^open:', 'closed:')))
  end
  return 0
end)
