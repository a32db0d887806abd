-- ARGV: lease in microseconds, claims as `task token`. Returns the tasks whose claims were lost. Who
-- extends claims lives.
local lives_at = server_time()

return answer(function()
  local lost, holders = {}, {}
  for task, token in string.gmatch(ARGV[4], '(%S+) (%S+)') do
    local _, found = find(task)
    if not found or found.token ~= token then lost[#lost + 1] = task end
    holders[string.sub(token, 1, 16)] = true
  end
  for holder in pairs(holders) do redis.call('ZADD', leases, lives_at + ARGV[3], holder) end
  return lost
end)
