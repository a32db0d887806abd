-- ARGV: transactions. Returns those that are not staged; what became of them is forgotten. Always
-- writes, so that the answer waits for the disk.
return answer(function()
  local released = {}
  redis.call('HINCRBY', meta, 'asks', 1)
  for txn in string.gmatch(ARGV[3], '[^,]+') do
    if redis.call('EXISTS', staged_key(txn)) == 0 then
      redis.call('ZREM', published, txn)
      redis.call('ZREM', discarded, txn)
      released[#released + 1] = txn
    end
  end
  return released
end)
