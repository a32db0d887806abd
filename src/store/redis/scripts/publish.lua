-- ARGV: txn. Returns what became of it, then the pairs of merged tasks.
local txn = ARGV[3]
local fields = load_staged(txn)
local batch = fields and cjson.decode(fields.batch)

return answer(function()
  if not fields then
    return { redis.call('ZSCORE', published, txn) and 'already' or 'unknown' }
  end
  local kept = unlock(batch)
  is_judged = true
  local merged = perform(batch, blobs_of(fields))
  for _, change in ipairs(batch) do
    local body = change.change == 'insert' and fields['blob:' .. text(change.body)]
    if body and load(change.task) then redis.call('SET', body_key(change.task), body) end
  end
  -- Only now: the changes were judged by their tasks as these were.
  let_go_on(kept)
  keep_time()
  end_staged(txn, published)
  drop_expired()
  commit()
  table.insert(merged, 1, 'now')
  return merged
end, function()
  undo()
  if fields then lock(batch, txn) end
end)
