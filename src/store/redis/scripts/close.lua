-- ARGV: incarnation.
local incarnation = ARGV[3]

return answer(function()
  redis.call('HINCRBY', meta, 'asks', 1)
  local row = redis.call('HGET', incarnations, incarnation)
  if row then
    redis.call('HSET', incarnations, incarnation, (string.gsub(row, '^open:', 'closed:')))
  end
  return 0
end)
