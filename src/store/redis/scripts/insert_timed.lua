-- The answer of `insert.lua` to whoever wants to know the time: it takes functions, which are made for nobody else.
return { text(server_time()), 'Ok', {} }
