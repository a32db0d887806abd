-- ARGV: what to list: `outcomes` after a transaction, at most so many; `incarnations`; `departed`.
-- Always writes, so that the answer waits for the disk.
local lists = {}

function lists.outcomes()
  local after, limit = ARGV[4], tonumber(ARGV[5])
  local from = after == '' and '-' or '(' .. after .. ';'
  local rows = redis.call('ZRANGE', outcomes, from, '+', 'BYLEX', 'LIMIT', 0, limit)
  for _, txn in ipairs(lone_commits()) do
    if txn > after then rows[#rows + 1] = txn .. ':commit:' end
  end
  table.sort(rows)
  return { unpack(rows, 1, math.min(#rows, limit)) }
end

function lists.incarnations()
  local rows = {}
  for _, incarnation in ipairs(fields_like('^' .. string.rep('%x', 16) .. '$')) do
    rows[#rows + 1] = incarnation
    rows[#rows + 1] = redis.call('HGET', meta, incarnation)
  end
  return rows
end

function lists.departed()
  local departed = {}
  for _, dead in ipairs(redis.call('ZRANGE', store .. 'managers', '-inf', '(' .. text(server_time()), 'BYSCORE')) do
    if redis.call('HEXISTS', meta, dead) == 1 then departed[#departed + 1] = dead end
  end
  return departed
end

return answer(function()
  redis.call('HINCRBY', meta, 'asks', 1)
  return lists[ARGV[3]]()
end)
