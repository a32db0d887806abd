-- ARGV: the newest version that the caller knows, and an id for a store that is not there yet. Returns
-- the version, the id and the clock.
local version, id = ARGV[3], ARGV[4]

return answer(function()
  if is_empty(meta) then redis.call('HSET', meta, 'version', version, 'id', id, 'clock', text(now)) end
  return redis.call('HMGET', meta, 'version', 'id', 'clock')
end)
