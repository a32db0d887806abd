-- ARGV: txn, the wanted decision, stores. Returns the decision, or empty, and the standing. Always
-- writes, so that the answer waits for the disk.
local txn, want, stores = ARGV[3], ARGV[4], ARGV[5]

return answer(function()
  local is = standing(incarnation_of(txn))
  redis.call('HINCRBY', meta, 'asks', 1)
  if not decision(txn) and (is == 'open' or (is == 'closed' and want == 'abort')) then
    record(txn, want, stores)
  end
  return { decision(txn) or '', is }
end)
