-- The end of tasks of whatever kind, which `done_plain.lua` has left.
return answer(function()
  refuse_known_txn(txn)
  refuse_gone(incarnation_of(txn))
  for i = FIRST, #ARGV, 2 do
    changes.settle({ task = ARGV[i], token = ARGV[i + 1], verdict = 'done', counts = { 0, 0, 0 } })
  end
  keep_time()
  record(txn, 'commit', stores)
  forget_lone_commits(spent)
  drop_expired()
  commit()
  return {}
end, undo)
