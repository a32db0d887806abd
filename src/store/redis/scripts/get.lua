-- ARGV: a task, or one that merged into it. Returns what is shown of it.
return answer(function()
  local id = find(ARGV[3])
  if not id then return {} end
  return shown(id)
end)
