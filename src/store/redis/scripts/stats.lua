-- Returns the counts, for each queue with Ready tasks when the first of each priority was published,
-- how much is in doubt, and since when.
local function heads(queue)
  local published_at = {}
  for _, priority in ipairs(redis.call('SMEMBERS', bands_key(queue))) do
    local first = redis.call('ZRANGE', ready_key(queue, priority), 0, 0)[1]
    if first then
      published_at[#published_at + 1] = load(id_of(first)).published_at
    end
  end
  return published_at
end

-- The counts of a queue, Ready and Claimed as they are.
local function numbers(queue)
  local numbers_of = {}
  for _, state in ipairs({ 'waiting', 'scheduled', 'done', 'dead', 'cancelled' }) do
    numbers_of[state] = counted_as(state, queue)
  end
  local held = held_in(queue)
  numbers_of.claimed = held + counted_as('pinned', queue)
  numbers_of.ready = counted_as('ready', queue) - (held - counted_as('claimed', queue))
  return numbers_of
end

return answer(function()
  local queues, found, oldest = {}, {}, {}
  for _, field in ipairs(redis.call('HKEYS', meta)) do
    local queue = string.match(field, ':(.*)$')
    if queue then queues[queue] = true end
  end
  for queue in pairs(queues) do
    for state, count_of in pairs(numbers(queue)) do
      if count_of > 0 then
        found[#found + 1] = counted(state, queue)
        found[#found + 1] = text(count_of)
      end
    end
    oldest[#oldest + 1] = { queue, unpack(heads(queue)) }
  end
  local since = redis.call('ZRANGE', in_doubt_since, 0, 0, 'WITHSCORES')[2]
  return { found, oldest, redis.call('ZCARD', staged), since or '' }
end)
