-- ARGV: the last sequence before the page, an object or empty, how many. Returns what is shown of each
-- task.
return answer(function()
  local list = ARGV[4] == '' and tasks or about_key(ARGV[4])
  local page = {}
  for _, id in ipairs(redis.call('ZRANGE', list, '(' .. ARGV[3], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[5])) do
    page[#page + 1] = shown(id)
  end
  return page
end)
