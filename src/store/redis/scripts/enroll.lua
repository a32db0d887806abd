-- ARGV: incarnation, host, lease in microseconds.
local incarnation, host, lease = ARGV[3], ARGV[4], ARGV[5]

return answer(function()
  if redis.call('HEXISTS', meta, incarnation) == 1 then refuse('Enrolled') end
  keep_time()
  redis.call('HSET', meta, incarnation, 'open:' .. text(now) .. ':' .. host)
  redis.call('ZADD', store .. 'managers', server_time() + lease, incarnation)
  return 0
end)
