-- Returns who holds something and is proved dead: its lease has run out.
return answer(function()
  local departed = {}
  for _, dead in ipairs(redis.call('ZRANGE', leases, '-inf', '(' .. text(server_time()), 'BYSCORE')) do
    if holds_any(dead) then departed[#departed + 1] = dead end
  end
  return departed
end)
