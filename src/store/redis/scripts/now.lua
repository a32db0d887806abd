-- Tells the time, which is a part of every answer.
return answer(function() return 0 end)
