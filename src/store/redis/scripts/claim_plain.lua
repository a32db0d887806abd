-- ARGV: incarnation, name, lease in microseconds, the count of the first token and how many there are, then queues,
-- each with how much is wanted. Returns the tasks, their bodies, and which of them were reclaimed. The first gets the
-- first token, and so on.
--
-- What a claim does most often: it gives out tasks of one queue that are Ready, all by the same few commands. Where
-- there is anything else it has changed nothing, and `claim.lua` goes on.

-- How much of each line is read at a time, if there are several.
local GLANCE = 8

local function read_on(line)
  line.seen = redis.call('ZRANGE', line.key, line.taken, line.taken + line.glance - 1, 'WITHSCORES')
  line.at = 1
end

-- Whether the next of one line comes before the next of another; what is at its end comes last.
local function comes_before(one, other)
  local member, rival = one.seen[one.at], other and other.seen[other.at]
  if not member or not rival then return member ~= nil end
  local rank, its_rank = tonumber(one.seen[one.at + 1]), tonumber(other.seen[other.at + 1])
  return rank < its_rank or (rank == its_rank and member < rival)
end

-- The line whose next comes first, and the one after it.
local function next_two(lines)
  local first, second
  for _, line in ipairs(lines) do
    if comes_before(line, first) then
      first, second = line, first
    elseif comes_before(line, second) then
      second = line
    end
  end
  return first, second
end

-- The lines of a queue, one for each priority.
local function lines_of(queue, want)
  local lines = {}
  local bands = redis.call('SMEMBERS', bands_key(queue))
  for i, band in ipairs(bands) do
    local glance = #bands == 1 and want or GLANCE
    lines[i] = { key = ready_key(queue, band), band = band, tails = {}, glance = glance, taken = 0 }
    read_on(lines[i])
  end
  return lines
end

-- Takes from several lines in one order until there is enough: members, and of each its rank and line.
local function take(lines, want)
  local members, ranks, from = {}, {}, {}
  local first, second = next_two(lines)
  while first do
    local number = #members + 1
    members[number], ranks[number], from[number] = first.seen[first.at], first.seen[first.at + 1], first
    first.taken, first.at = first.taken + 1, first.at + 2
    if number == want then break end
    if not first.seen[first.at] then read_on(first) end
    if not comes_before(first, second) then first, second = next_two(lines) end
  end
  return { members = members, ranks = ranks, from = from }
end

-- Whether somebody died who held tasks of a queue, or holds nothing and is to be forgotten.
local function has_dead(queue)
  for _, dead in ipairs(redis.call('ZRANGE', leases, '-inf', '(' .. text(server_time()), 'BYSCORE')) do
    if not is_empty(held_key(dead, queue)) or not holds_any(dead) then return true end
  end
  return false
end

-- Whether a claim concerns more than what is Ready in one queue: another queue, an answer that was lost, what is
-- due, or what the dead held.
local function is_wider(queue)
  if ARGV[10] or has_dead(queue) then return true end
  local fences, due = store .. 'fences', due_key(queue)
  return redis.call('EXISTS', fences, due) > 0
    and (redis.call('HEXISTS', fences, ARGV[3]) == 1 or redis.call('ZCOUNT', due, '-inf', text(now)) > 0)
end

local function token_of(number) return string.format('%s%016x', ARGV[3], ARGV[6] + number - 1) end

-- What the claim of a task of some kind ends with, as it is kept.
local function tail_of(queue, line, kind)
  local tail = line.tails[kind] or cmsgpack.pack({ text(now), ARGV[4], queue, line.band, kind })
  line.tails[kind] = tail
  return tail
end

-- Claims tasks, which are the first of their lines.
local function give_all(queue, found, lines)
  local held, tokens = {}, {}
  for i, member in ipairs(found.members) do
    local tail = tail_of(queue, found.from[i], found.kinds[i])
    held[2 * i - 1], held[2 * i] = found.ranks[i], member
    tokens[2 * i - 1] = id_of(member)
    tokens[2 * i] = token_of(i) .. string.sub(member, 1, 16) .. found.limits[i] .. tail
  end
  for _, line in ipairs(lines) do
    if line.taken > 0 then redis.call('ZREMRANGEBYRANK', line.key, '0', text(line.taken - 1)) end
  end
  redis.call('ZADD', held_key(ARGV[3], queue), unpack(held))
  redis.call('SADD', holds_key(ARGV[3]), queue)
  redis.call('HSET', claims, unpack(tokens))
  keep_time()
end

-- Reads the tasks that were found; returns whether all can be claimed here.
local function read(found)
  local task_keys, body_keys = {}, {}
  for i, member in ipairs(found.members) do
    local id = id_of(member)
    task_keys[i], body_keys[i] = task_key(id), body_key(id)
  end
  found.kept, found.kinds, found.limits = redis.call('MGET', unpack(task_keys)), {}, {}
  for i, kept in ipairs(found.kept) do
    local kind = kept and string.sub(kept, 1, 1)
    if kind == PLAIN or kind == BOUND then
      found.limits[i] = NO_LIMITS
    elseif kind == LIMITED then
      found.limits[i] = string.sub(kept, 2, limits_end(kept, 2))
    else
      return false
    end
    found.kinds[i] = kind
  end
  found.bodies = redis.call('MGET', unpack(body_keys))
  return true
end

-- A claim is a sign of life. The lease is renewed when half of it is over, so that an idle claim seldom writes.
local function live()
  local lives_at, lease = server_time(), tonumber(ARGV[5])
  local until_ = redis.call('ZSCORE', leases, ARGV[3])
  if not until_ or tonumber(until_) < lives_at + lease / 2 then
    redis.call('ZADD', leases, text(lives_at + lease), ARGV[3])
  end
end

local function claim_plain(queue, want)
  if is_wider(queue) then return nil end
  live()
  local lines = lines_of(queue, want)
  local found = take(lines, want)
  if #found.members == 0 then return {} end
  if not read(found) then return nil end
  unlogged(function() give_all(queue, found, lines) end)
  return { found.kept, found.bodies, {} }
end

local claimed = claim_plain(ARGV[8], tonumber(ARGV[9]))
if claimed then return { text(server_time()), 'Ok', claimed } end
