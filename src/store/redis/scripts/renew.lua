-- ARGV: the set of leases, then pairs of an incarnation and its lease in microseconds.
local lives_at = server_time()
-- Where a clock that is moved by hand replaces the server's, it may be moved while a renewal is on its way: that one
-- does not bring back what was. (`CH` is no condition.)
local later = ARGV[2] ~= '' and 'GT' or 'CH'
-- A manager is there since it was enrolled, unless it was suspended, taken for dead meanwhile, and dropped.
local known = ARGV[3] == 'managers' and 'XX' or 'CH'

return answer(function()
  for i = 4, #ARGV, 2 do redis.call('ZADD', store .. ARGV[3], known, later, lives_at + ARGV[i + 1], ARGV[i]) end
  return 0
end)
