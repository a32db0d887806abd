-- ARGV: txn, stores, lone commits to forget, whether the time is wanted, then for each task that is done, and whose
-- counts are zero, its id and the token of its claim. Returns the pairs of merged tasks, of which there are none, or a
-- bare 1 if the time is not wanted.
--
-- What ends most often: tasks on which nothing hangs, or a key, or a group, by the same few commands for all. Where
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
    local task = unpacked(kept)
    if task.token ~= tokens[i] then return nil end
    local by = task.holder .. cmsgpack.pack({ '', '', task.queue })
    add_place(lines, by, string.format('%016d', task.seq), ids[i])
  end
  return lines
end

-- Notes what the end of a claim has to do about the key and the group of its task. Its limits end at a place.
local function add_limits(limits, claim, last, id)
  local key_end = 49 + string.byte(claim, 49)
  if key_end > 49 then
    local keys = limits.keys
    keys[#keys + 1], limits.named[#keys + 1] = string.sub(claim, 50, key_end), id
  end
  local name = string.sub(claim, key_end + 2, last - 4)
  if name == '' then return end
  local group = limits.groups[name]
  if not group then
    group = { limit = string.sub(claim, last - 3, last), places = {}, heirs = {} }
    limits.groups[name] = group
  end
  group.places[#group.places + 1] = string.sub(claim, 33, 48) .. ':' .. id
end

-- The places of tasks by their holder and what else is kept of their claims, and what there is to do about their
-- limits; nothing if one of them is not held so.
local function lines_held(ids)
  local lines, limits, seen, logged, tokens = {}, { keys = {}, named = {}, groups = {} }, {}, {}, {}
  local kept = redis.call('HMGET', claims, unpack(ids))
  for i, id in ipairs(ids) do
    local claim, token = kept[i], ARGV[FIRST + 2 * i - 1]
    if seen[id] then return nil end
    seen[id] = true
    if not claim then
      logged[#logged + 1], tokens[#logged + 1] = id, token
    elseif string.sub(claim, 1, 32) == token then
      local last = limits_end(claim, 49)
      if last > 48 + #NO_LIMITS then add_limits(limits, claim, last, id) end
      add_place(lines, string.sub(claim, 1, 16) .. string.sub(claim, last + 1), string.sub(claim, 33, 48), id)
    else
      return nil
    end
  end
  if #logged > 0 and not add_logged(lines, logged, tokens) then return nil end
  return lines, limits
end

-- Tells of each line whose and which it is; nothing if that is not known, or there is more to its tasks than their
-- limits. One whose claims are logged has no priority.
local function told_apart(lines)
  for by, line in pairs(lines) do
    local kept = cmsgpack.unpack(string.sub(by, 17))
    line.holder, line.queue, line.band = string.sub(by, 1, 16), kept[3], kept[4]
    if not line.queue or kept[5] == BOUND then return nil end
  end
  return lines
end

-- Takes out of the line of Ready tasks those that are in it in the file. The command that does is logged if it finds
-- one in memory, so one is put back first.
local function leave_ready(line)
  local ready = ready_key(line.queue, line.band)
  redis.set_repl(redis.REPL_NONE)
  redis.call('ZADD', ready, '0', line.places[1])
  redis.set_repl(redis.REPL_ALL)
  redis.call('ZREM', ready, unpack(line.places))
end

-- The first of those who wait for a group: as many as there are free places, and the one after them, who is to go on
-- waiting. Nothing if others than these have to be looked at.
local function first_waiting(name, group)
  local free = #group.places
  local first = redis.call('ZRANGE', group_key(name), '0', text(free), 'WITHSCORES')
  if #first == 0 then return first end
  local places = places_key(name)
  if redis.call('ZCARD', places) ~= tonumber(group.limit) then return nil end
  if #first <= 2 * free then return first end
  local last = redis.call('ZRANGE', places, '-1', '-1', 'WITHSCORES')
  local rank, its_rank = tonumber(first[#first]), tonumber(last[2])
  local is_behind = its_rank > rank or (its_rank == rank and last[1] > first[#first - 1])
  return not is_behind and first or nil
end

-- Finds who gets the places of groups that become free: what is kept of them, and where they stand. Nothing if somebody
-- waits for more, or has another limit than those before: then it depends on more who goes on.
local function heirs_of(groups)
  local heirs, keys, owners = {}, {}, {}
  for name, group in pairs(groups) do
    local first = first_waiting(name, group)
    if not first then return nil end
    for i = 1, #first, 2 do
      local number = #keys + 1
      keys[number], owners[number] = task_key(id_of(first[i])), group
      heirs[number] = { key = keys[number], place = first[i], rank = first[i + 1] }
    end
  end
  local go_on = {}
  for i, kept in ipairs(#keys > 0 and redis.call('MGET', unpack(keys)) or {}) do
    local group, heir = owners[i], heirs[i]
    if not kept or string.sub(kept, 1, 1) ~= WAITING then return nil end
    heir.kept, heir.limits_end = kept, limits_end(kept, 2)
    if string.sub(kept, heir.limits_end - 3, heir.limits_end) ~= group.limit then return nil end
    if #group.heirs < #group.places then
      go_on[#go_on + 1], group.heirs[#group.heirs + 1] = heir, heir
    end
  end
  return go_on
end

-- Has the first that wait take the places of those who leave.
local function pass_places(name, group)
  redis.call('ZREM', places_key(name), unpack(group.places))
  if #group.heirs == 0 then return end
  local listed = {}
  for _, heir in ipairs(group.heirs) do listed[#listed + 1], listed[#listed + 2] = heir.rank, heir.place end
  redis.call('ZREMRANGEBYRANK', group_key(name), '0', text(#group.heirs - 1))
  redis.call('ZADD', places_key(name), unpack(listed))
end

-- Makes those Ready who have waited for their group only: no more than the kind of what is kept changes.
local function go_on_all(heirs)
  local writes, lines = {}, {}
  for _, heir in ipairs(heirs) do
    writes[#writes + 1], writes[#writes + 2] = heir.key, LIMITED .. string.sub(heir.kept, 2)
    local queue, band = queue_behind(heir.kept, heir.limits_end)
    local key = ready_key(queue, band)
    local line = lines[key] or { queue = queue, band = band, listed = {} }
    lines[key] = line
    line.listed[#line.listed + 1], line.listed[#line.listed + 2] = heir.rank, heir.place
  end
  if #writes > 0 then redis.call('MSET', unpack(writes)) end
  for key, line in pairs(lines) do
    redis.call('ZADD', key, unpack(line.listed))
    redis.call('SADD', bands_key(line.queue), line.band)
    recount(line.queue, 'waiting', text(-#line.listed / 2))
    recount(line.queue, 'ready', text(#line.listed / 2))
  end
  return lines
end

local function leave(line)
  local held = held_key(line.holder, line.queue)
  redis.call('ZREM', held, unpack(line.places))
  if redis.call('EXISTS', held) == 0 then redis.call('SREM', holds_key(line.holder), line.queue) end
  if line.band then leave_ready(line) end
  recount(line.queue, line.band and 'ready' or 'claimed', text(-#line.places))
end

-- Frees the keys whose entries still have the names of the tasks that had them.
local function free_keys(keys, named)
  if #keys == 0 then return end
  local free = {}
  for i, id in ipairs(redis.call('HMGET', unique_keys, unpack(keys))) do
    if id == named[i] then free[#free + 1] = keys[i] end
  end
  if #free > 0 then redis.call('HDEL', unique_keys, unpack(free)) end
end

-- Deletes what is kept of tasks.
local function drop(ids)
  local keys = {}
  for i, id in ipairs(ids) do keys[2 * i - 1], keys[2 * i] = task_key(id), body_key(id) end
  redis.call('UNLINK', unpack(keys))
  redis.call('ZREM', tasks, unpack(ids))
  redis.call('HDEL', claims, unpack(ids))
end

-- Wakes those who wait for the end of a task, or for one in a line.
local function tell(ids, longer)
  if redis.call('EXISTS', waiting) == 0 then return end
  local named = {}
  for i, id in ipairs(ids) do named[i] = 'settled:' .. id end
  for _, line in pairs(longer) do named[#named + 1] = 'ready:' .. line.queue end
  local is_awaited = redis.call('SMISMEMBER', waiting, unpack(named))
  for i, topic in ipairs(named) do
    if is_awaited[i] == 1 then
      redis.call('SREM', waiting, topic)
      redis.set_repl(redis.REPL_NONE)
      redis.call('PUBLISH', store .. 'wake', topic)
      redis.set_repl(redis.REPL_ALL)
    end
  end
end

local function done_plain()
  local ids = {}
  for i = FIRST, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
  local at = time_of_lone_commit()
  if not at then return false end
  local found, limits = lines_held(ids)
  local lines = found and told_apart(found)
  local heirs = lines and heirs_of(limits.groups)
  if not heirs then return false end
  for _, line in pairs(lines) do leave(line) end
  for name, group in pairs(limits.groups) do pass_places(name, group) end
  free_keys(limits.keys, limits.named)
  drop(ids)
  local longer = go_on_all(heirs)
  redis.call('HSET', meta, 'clock', at, txn, 'commit')
  if spent ~= '' then forget_lone_commits(spent) end
  tell(ids, longer)
  return true
end

if done_plain() then
  return ARGV[6] == '' and 1 or { text(server_time()), 'Ok', {} }
end
