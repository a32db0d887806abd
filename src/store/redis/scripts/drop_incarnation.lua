-- ARGV: incarnation. Returns 1 if it went, with its aborts.
local incarnation = ARGV[3]
local from, to = '[' .. incarnation .. '-', '(' .. incarnation .. '.'

return answer(function()
  redis.call('HINCRBY', meta, 'asks', 1)
  if #lone_commits(incarnation) > 0 then return 0 end
  for _, row in ipairs(redis.call('ZRANGE', outcomes, from, to, 'BYLEX')) do
    if string.match(row, ':(%a+):') == 'commit' then return 0 end
  end
  redis.call('ZREMRANGEBYLEX', outcomes, from, to)
  redis.call('ZREM', store .. 'managers', incarnation)
  return redis.call('HDEL', meta, incarnation)
end)
