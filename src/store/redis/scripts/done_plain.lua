-- ARGV: txn, stores, lone commits to forget, whether the time is wanted, then for each task that is done, and whose
-- counts are zero, its id and the token of its claim. Returns the pairs of merged tasks, of which there are none, or a
-- bare 1 if the time is not wanted.
--
-- What ends most often: claims that are not logged, of tasks that are plain, by the same few commands for all. Where
-- there is anything else, or anything refuses, it has changed nothing, and `done.lua` goes on.
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

-- The places of tasks by their holder and what else is kept of their claims; nothing if one of them is not held so.
local function places_held(ids)
  local by_claim, seen = {}, {}
  local kept = redis.call('HMGET', claims, unpack(ids))
  for i, id in ipairs(ids) do
    local claim = kept[i]
    if not claim or seen[id] or string.sub(claim, 1, 32) ~= ARGV[FIRST + 2 * i - 1] then return nil end
    seen[id] = true
    local by = string.sub(claim, 1, 16) .. string.sub(claim, 49)
    local places = by_claim[by] or {}
    by_claim[by] = places
    places[#places + 1] = string.sub(claim, 33, 48) .. ':' .. id
  end
  return by_claim
end

-- What tells such claims apart; nothing if a task is not plain.
local function lines_held(by_claim)
  local lines = {}
  for by, places in pairs(by_claim) do
    local kept = cmsgpack.unpack(string.sub(by, 17))
    if not kept[3] then return nil end
    lines[#lines + 1] = { holder = string.sub(by, 1, 16), queue = kept[3], band = kept[4], places = places }
  end
  return lines
end

-- Takes tasks out of the line of their holder, and out of that of Ready tasks. There they are in the file. The command
-- that takes them out is logged if it finds one in memory, so one is put back first.
local function leave(line)
  local held, ready = held_key(line.holder, line.queue), ready_key(line.queue, line.band)
  redis.call('ZREM', held, unpack(line.places))
  if redis.call('EXISTS', held) == 0 then redis.call('SREM', holds_key(line.holder), line.queue) end
  redis.set_repl(redis.REPL_NONE)
  redis.call('ZADD', ready, '0', line.places[1])
  redis.set_repl(redis.REPL_ALL)
  redis.call('ZREM', ready, unpack(line.places))
  local field = counted('ready', line.queue)
  if redis.call('HINCRBY', meta, field, text(-#line.places)) > 0 then return end
  redis.call('HDEL', meta, field)
  redis.call('UNLINK', bands_key(line.queue))
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
  local by_claim = at and places_held(ids)
  local lines = by_claim and lines_held(by_claim)
  if not lines then return false end
  for _, line in ipairs(lines) do leave(line) end
  drop(ids)
  redis.call('HSET', meta, 'clock', at, txn, 'commit')
  if spent ~= '' then forget_lone_commits(spent) end
  tell(ids)
  return true
end

if done_plain() then
  return ARGV[6] == '' and 1 or { text(server_time()), 'Ok', {} }
end
