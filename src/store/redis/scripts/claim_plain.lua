-- ARGV: incarnation, name, lease in microseconds, the count of the first token and how many there are, then
-- queues, each with how much is wanted. Returns the tasks, their bodies, and which of them were reclaimed. The
-- first gets the first token, and so on.
--
-- What a claim does most often: it gives out tasks of one queue that are Ready and plain, all by the same few
-- commands. Where there is anything else it has changed nothing, and `claim.lua` goes on.

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

-- The lines of a queue, one for each priority; `tail` ends what is kept of a claim.
local function lines_of(queue, want)
  local lines = {}
  local bands = redis.call('SMEMBERS', bands_key(queue))
  for i, band in ipairs(bands) do
    local tail = cmsgpack.pack({ text(now), ARGV[4], queue, band })
    local glance = #bands == 1 and want or GLANCE
    lines[i] = { key = ready_key(queue, band), tail = tail, glance = glance, taken = 0 }
    read_on(lines[i])
  end
  return lines
end

-- Takes from several lines in one order until there is enough. Returns members, and of each its rank and line.
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
  return members, ranks, from
end

-- Whether a claim concerns more than what is Ready in one queue: another queue, an answer that was lost, what is
-- due, or what the dead held.
local function is_wider(queue)
  if ARGV[10] or redis.call('ZCOUNT', leases, '-inf', '(' .. text(server_time())) > 0 then return true end
  local fences, due = store .. 'fences', due_key(queue)
  return redis.call('EXISTS', fences, due) > 0
    and (redis.call('HEXISTS', fences, ARGV[3]) == 1 or redis.call('ZCOUNT', due, '-inf', text(now)) > 0)
end

-- Moves tasks from their lines to that of their holder, with tokens.
local function move(queue, lines, members, ranks, from)
  local holder, token_first, format = ARGV[3], tonumber(ARGV[6]), string.format
  local held, kept = {}, {}
  for i, member in ipairs(members) do
    held[2 * i - 1], held[2 * i] = ranks[i], member
    local token = format('%s%016x', holder, token_first + i - 1)
    kept[2 * i - 1], kept[2 * i] = id_of(member), token .. string.sub(member, 1, 16) .. from[i].tail
  end
  for _, line in ipairs(lines) do
    if line.taken > 0 then redis.call('ZREMRANGEBYRANK', line.key, 0, line.taken - 1) end
  end
  redis.call('ZADD', held_key(holder, queue), unpack(held))
  redis.call('SADD', holds_key(holder), queue)
  redis.call('HSET', claims, unpack(kept))
end

-- The keys of tasks, and those of their bodies.
local function keys_of(members)
  local kept, bodies = {}, {}
  for i, member in ipairs(members) do
    local id = id_of(member)
    kept[i], bodies[i] = task_key(id), body_key(id)
  end
  return kept, bodies
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
  local members, ranks, from = take(lines, want)
  if #members == 0 then return {} end
  local task_keys, body_keys = keys_of(members)
  local kept = redis.call('MGET', unpack(task_keys))
  for i = 1, #members do
    if not kept[i] or string.byte(kept[i]) ~= 46 then return nil end
  end
  unlogged(function()
    move(queue, lines, members, ranks, from)
    keep_time()
  end)
  return { kept, redis.call('MGET', unpack(body_keys)), {} }
end

local claimed = claim_plain(ARGV[8], tonumber(ARGV[9]))
if claimed then return { text(server_time()), 'Ok', claimed } end
