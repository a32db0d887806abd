-- ARGV: txn.
local txn = ARGV[3]

return answer(function()
  local fields = load_staged(txn)
  if not fields then return 0 end
  local batch = cjson.decode(fields.batch)
  let_go_on(unlock(batch))
  for _, change in ipairs(batch) do
    if change.change == 'insert' and not load(change.task) then redis.call('UNLINK', body_key(change.task)) end
  end
  keep_time()
  end_staged(txn, discarded)
  drop_traces()
  commit()
  return 0
end)
