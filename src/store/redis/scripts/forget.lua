-- ARGV: transactions. Returns how many commits were forgotten.
return answer(function() return forget_commits(ARGV[3]) end)
