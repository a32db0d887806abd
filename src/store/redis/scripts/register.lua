-- ARGV: what to list: `outcomes` after a transaction, at most so many; `incarnations`; `departed`.
-- Always writes, so that the answer waits for the disk.
local lists = {}

function lists.outcomes()
  local from = ARGV[4] == '' and '-' or '(' .. ARGV[4] .. ';'
  return redis.call('ZRANGE', outcomes, from, '+', 'BYLEX', 'LIMIT', 0, ARGV[5])
end

function lists.incarnations()
  return redis.call('HGETALL', incarnations)
end

function lists.departed()
  local departed = {}
  for _, dead in ipairs(redis.call('ZRANGE', store .. 'managers', '-inf', '(' .. text(server_time()), 'BYSCORE')) do
    if redis.call('HEXISTS', incarnations, dead) == 1 then departed[#departed + 1] = dead end
  end
  return departed
end

return answer(function()
  redis.call('HINCRBY', meta, 'asks', 1)
  return lists[ARGV[3]]()
end)
