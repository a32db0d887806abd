-- ARGV: txn, stores, lone commits to forget, whether the time is wanted, then for each task that is done, and whose
-- counts are zero, its id and the token of its claim. Returns the pairs of merged tasks, of which there are none, or a
-- bare 1 if the time is not wanted.
--
-- What ends most often: tasks on which nothing hangs, or a key, by the same few commands for all. Where there is
-- anything else, or anything refuses, it has changed nothing, and `done.lua` goes on.
local txn, stores, spent = ARGV[3], ARGV[4], ARGV[5]
local FIRST = 7

-- The time, if there is no more to say of the transaction than that it commits, and nothing is past its retention.
local function time_of_lone_commit()
  local found = redis.call('HMGET', meta, 'clock', incarnation_of(txn), txn)
  if stores ~= '' or found[3] or not found[2] or string.sub(found[2], 1, 5) ~= 'open:' then return nil end
  local at, batch = text(math.max(tonumber(ARGV[1]), tonumber(found[1] or '0'))), staged_key(txn)
  if redis.call('EXISTS', leaving, published, discarded, outcomes, batch) == 0 then return at end
  if redis.call('EXISTS', batch) == 1 or first_with(outcomes, txn) then return nil end
  if redis.call('ZSCORE', published, txn) or redis.call('ZSCORE', discarded, txn) then return nil end
  return redis.call('ZCOUNT', leaving, '-inf', at) == 0 and at
end

-- Lists a task, by its place, among those of one line.
local function add_place(lines, by, place, id)
  local line = lines[by] or { by = by, places = {} }
  lines[by] = line
  line.places[#line.places + 1] = place .. ':' .. id
end

-- The places of tasks whose claims are logged; nothing if one of them is not held so.
local function add_logged(lines, ids, tokens)
  local keys = {}
  for i, id in ipairs(ids) do keys[i] = task_key(id) end
  for i, kept in ipairs(redis.call('MGET', unpack(keys))) do
    if not kept or string.sub(kept, 1, 1) ~= CLAIMED then return nil end
    local task = cmsgpack.unpack(string.sub(kept, 2))
    if task.token ~= tokens[i] then return nil end
    local by = task.holder .. cmsgpack.pack({ '', '', task.queue })
    add_place(lines, by, string.format('%016d', task.seq), ids[i])
  end
  return lines
end

-- The places of tasks by their holder and what else is kept of their claims; nothing if one of them is not held so.
local function lines_held(ids)
  local lines, seen, logged, tokens = {}, {}, {}, {}
  local kept = redis.call('HMGET', claims, unpack(ids))
  for i, id in ipairs(ids) do
    local claim, token = kept[i], ARGV[FIRST + 2 * i - 1]
    if seen[id] then return nil end
    seen[id] = true
    if not claim then
      logged[#logged + 1], tokens[#logged + 1] = id, token
    elseif string.sub(claim, 1, 32) == token then
      add_place(lines, string.sub(claim, 1, 16) .. string.sub(claim, 49), string.sub(claim, 33, 48), id)
    else
      return nil
    end
  end
  if #logged > 0 and not add_logged(lines, logged, tokens) then return nil end
  return lines
end

-- Tells of each line whose and which it is; nothing if a task in it is not plain. One whose claims are logged has no
-- priority.
local function told_apart(lines)
  for by, line in pairs(lines) do
    local kept = cmsgpack.unpack(string.sub(by, 17))
    line.holder, line.queue, line.band = string.sub(by, 1, 16), kept[3], kept[4]
    if not line.queue then return nil end
  end
  return lines
end

-- Takes out of the line of Ready tasks those that are in it in the file. The command that does is logged if it finds one
-- in memory, so one is put back first.
local function leave_ready(line)
  local ready = ready_key(line.queue, line.band)
  redis.set_repl(redis.REPL_NONE)
  redis.call('ZADD', ready, '0', line.places[1])
  redis.set_repl(redis.REPL_ALL)
  redis.call('ZREM', ready, unpack(line.places))
end

local function leave(line)
  local held = held_key(line.holder, line.queue)
  redis.call('ZREM', held, unpack(line.places))
  if redis.call('EXISTS', held) == 0 then redis.call('SREM', holds_key(line.holder), line.queue) end
  if line.band then leave_ready(line) end
  recount(line.queue, line.band and 'ready' or 'claimed', text(-#line.places))
end

-- Deletes what is kept of tasks.
local function drop(ids)
  local keys = {}
  for i, id in ipairs(ids) do keys[2 * i - 1], keys[2 * i] = task_key(id), body_key(id) end
  redis.call('UNLINK', unpack(keys))
  redis.call('ZREM', tasks, unpack(ids))
  redis.call('HDEL', claims, unpack(ids))
end

-- Wakes those who wait for the end of a task.
local function tell(ids)
  if redis.call('EXISTS', waiting) == 0 then return end
  local named = {}
  for i, id in ipairs(ids) do named[i] = 'settled:' .. id end
  local is_awaited = redis.call('SMISMEMBER', waiting, unpack(named))
  redis.set_repl(redis.REPL_NONE)
  for i, topic in ipairs(named) do
    if is_awaited[i] == 1 then
      redis.call('SREM', waiting, topic)
      redis.call('PUBLISH', store .. 'wake', topic)
    end
  end
  redis.set_repl(redis.REPL_ALL)
end

local function done_plain()
  local ids = {}
  for i = FIRST, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
  local at = time_of_lone_commit()
  local found = at and lines_held(ids)
  local lines = found and told_apart(found)
  if not lines then return false end
  for _, line in pairs(lines) do leave(line) end
  drop(ids)
  redis.call('HSET', meta, 'clock', at, txn, 'commit')
  if spent ~= '' then forget_lone_commits(spent) end
  tell(ids)
  return true
end

if done_plain() then
  return ARGV[6] == '' and 1 or { text(server_time()), 'Ok', {} }
end
