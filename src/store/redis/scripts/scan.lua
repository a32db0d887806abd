-- ARGV: the last sequence before the page, an object or empty, how many. Returns for each task its
-- fields, its body and its id.
return answer(function()
  local list = ARGV[4] == '' and tasks or about_key(ARGV[4])
  local page = {}
  for _, id in ipairs(redis.call('ZRANGE', list, '(' .. ARGV[3], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[5])) do
    page[#page + 1] = { redis.call('HGETALL', task_key(id)), redis.call('GET', body_key(id)), id }
  end
  return page
end)
