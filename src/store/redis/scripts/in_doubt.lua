-- ARGV: the last transaction before the page, or empty; how many. Returns five values for each.
return answer(function()
  local from = ARGV[3] == '' and '-' or '(' .. ARGV[3]
  local page = {}
  for _, txn in ipairs(redis.call('ZRANGE', staged, from, '+', 'BYLEX', 'LIMIT', 0, ARGV[4])) do
    local fields = redis.call('HMGET', staged_key(txn), 'register', 'at', 'count', 'size')
    page[#page + 1] = { txn, unpack(fields) }
  end
  return page
end)
