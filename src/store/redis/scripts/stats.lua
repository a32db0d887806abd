-- Returns the counts, for each queue with Ready tasks when the first of each priority was published,
-- how much is in doubt, and since when.
local function heads(queue)
  local published_at = {}
  for _, priority in ipairs(redis.call('SMEMBERS', bands_key(queue))) do
    local first = redis.call('ZRANGE', ready_key(queue, priority), 0, 0)[1]
    published_at[#published_at + 1] = redis.call('HGET', task_key(id_of(first)), 'published_at')
  end
  return published_at
end

return answer(function()
  local counted, oldest = redis.call('HGETALL', counts), {}
  for i = 1, #counted, 2 do
    local queue = string.match(counted[i], '^ready:(.*)$')
    if queue then oldest[#oldest + 1] = { queue, unpack(heads(queue)) } end
  end
  local since = redis.call('ZRANGE', in_doubt_since, 0, 0, 'WITHSCORES')[2]
  return { counted, oldest, redis.call('ZCARD', staged), since or '' }
end)
