-- ARGV: txn, stores, lone commits to forget, batch, blobs… Returns the pairs of merged tasks.
local txn, stores, spent = ARGV[3], ARGV[4], ARGV[5]
local batch = cjson.decode(ARGV[6])
local function blob(number) return ARGV[6 + number] end

return answer(function()
  refuse_known_txn(txn)
  refuse_gone(incarnation_of(txn))
  local merged = perform(batch, blob)
  for _, change in ipairs(batch) do
    if change.change == 'insert' and load(change.task) then
      redis.call('SET', body_key(change.task), blob(change.body))
    end
  end
  keep_time()
  record(txn, 'commit', stores)
  forget_lone_commits(spent)
  drop_expired()
  commit()
  return merged
end, undo)
