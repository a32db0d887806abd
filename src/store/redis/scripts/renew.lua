-- ARGV: the set of leases, then pairs of an incarnation and its lease in microseconds.
local lives_at = server_time()

return answer(function()
  for i = 4, #ARGV, 2 do redis.call('ZADD', store .. ARGV[3], lives_at + ARGV[i + 1], ARGV[i]) end
  return 0
end)
