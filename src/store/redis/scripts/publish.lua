-- ARGV: txn. Returns what became of it, then the pairs of merged tasks.
local txn = ARGV[3]
local fields = load_staged(txn)
local batch = fields and cjson.decode(fields.batch)

return answer(function()
  if not fields then
    return { redis.call('ZSCORE', published, txn) and 'already' or 'unknown' }
  end
  unlock(batch)
  is_judged = true
  local merged = perform(batch, blobs_of(fields))
  keep_time()
  end_staged(txn, published)
  drop_expired()
  commit()
  return { 'now', unpack(merged) }
end, function()
  undo()
  if fields then lock(batch, txn) end
end)
