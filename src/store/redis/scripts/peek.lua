-- Returns the version, the id and the clock of the store, or nothing if there is none.
return answer(function()
  local kind = redis.call('TYPE', meta).ok
  if kind == 'none' then return {} end
  if kind ~= 'hash' then refuse('Foreign', meta, kind) end
  return redis.call('HMGET', meta, 'version', 'id', 'clock')
end)
