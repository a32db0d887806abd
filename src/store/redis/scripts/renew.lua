-- ARGV: the set of leases, then pairs of an incarnation and its lease in microseconds.
local lives_at = server_time()
-- Where a clock that is moved by hand replaces the server's, it may be moved while a renewal is on its way: that one
-- does not bring back what was. (`CH` is no condition.)
local condition = ARGV[2] ~= '' and 'GT' or 'CH'

return answer(function()
  for i = 4, #ARGV, 2 do
    -- A manager that was suspended may have been taken for dead meanwhile, and dropped.
    local is_known = ARGV[3] ~= 'managers' or redis.call('HEXISTS', meta, ARGV[i]) == 1
    if is_known then redis.call('ZADD', store .. ARGV[3], condition, lives_at + ARGV[i + 1], ARGV[i]) end
  end
  return 0
end)
