-- ARGV: txn, register, size, batch, blobs…
local txn, register, size = ARGV[3], ARGV[4], ARGV[5]
local batch = cjson.decode(ARGV[6])
local digest = redis.sha1hex(register .. table.concat(ARGV, '', 6))
local function blob(number) return ARGV[6 + number] end

-- Keeps the batch: the bodies of tasks where they will be, all other blobs beside it; and a body beside it whose place
-- another task has until the batch is published, which removes that.
local function keep()
  local fields = { 'register', register, 'digest', digest, 'size', size, 'at', text(now),
    'count', #batch, 'batch', ARGV[6] }
  for _, change in ipairs(batch) do
    local is_taken = change.change == 'insert' and load(change.task)
    if change.change == 'insert' and not is_taken then
      redis.call('SET', body_key(change.task), blob(change.body))
    end
    for _, name in ipairs({ 'account', 'value', is_taken and 'body' }) do
      if change[name] then
        fields[#fields + 1] = 'blob:' .. text(change[name])
        fields[#fields + 1] = blob(change[name])
      end
    end
  end
  redis.call('ZADD', staged, 0, txn)
  redis.call('ZADD', in_doubt_since, now, txn)
  for i = 1, #fields, 100 do
    redis.call('HSET', staged_key(txn), unpack(fields, i, math.min(i + 99, #fields)))
  end
end

return answer(function()
  local found = redis.call('HGET', staged_key(txn), 'digest')
  if found == digest then return 0 end
  if found then refuse('StagedOtherwise', txn) end
  refuse_ended(txn)
  perform(batch, blob)
  undo()
  keep_time()
  keep()
  lock(batch, txn)
  return 0
end, undo)
