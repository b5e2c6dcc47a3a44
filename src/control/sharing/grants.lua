-- One call of one node: it says that it lives, learns its share, and asks for tokens of some keys.
--
-- KEYS[1] is what all nodes share; every other key is a bucket. A bucket is "debt clock": tokens that were granted and
-- not earned back, and when that was. ARGV: the node, the server's run, the latest time at which this call counts, the
-- share that the node goes by, whether it may grow, a seed; then of each bucket the tokens that are wanted, the
-- microseconds of a token, and the bucket's size.
--
-- The clock of the buckets is the server's, as no two nodes' agree. It goes slower by the shares of nodes that have
-- been silent, as they may earn those by themselves.
local SHARES, SILENT, FORGOTTEN, YOUNG = 65536, 500000, 60000000, 10000000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local node, run, deadline = ARGV[1], ARGV[2], tonumber(ARGV[3])
local holds, grows, seed = tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6]
-- Whoever sent it does not wait for an answer any more, and goes by what it has.
if now > deadline then return {now} end

local state, nodes = {}, {}
local pairs_of_all = redis.call('HGETALL', KEYS[1])
for i = 1, #pairs_of_all, 2 do
  local id = string.match(pairs_of_all[i], '^node:(.*)$')
  if id then
    local share, seen = string.match(pairs_of_all[i + 1], '^(%d+) (%d+)$')
    nodes[id] = {share = tonumber(share) or 0, seen = tonumber(seen) or 0}
  else
    state[pairs_of_all[i]] = pairs_of_all[i + 1]
  end
end

-- Another run of the server may have lost anything: whatever was granted before it counts as all that there was.
local clock, last = tonumber(state.clock) or 0, tonumber(state.last) or now
local epoch, since = tonumber(state.epoch) or 0, tonumber(state.since) or now
local is_new = state.run ~= run
-- Nobody was heard for a while: all of them may have begun to earn, and some may do so until they are back.
if is_new or now - last > SILENT then since = now end
local is_young = now - since < YOUNG

local heard, silent = 0, 0
for _, other in pairs(nodes) do
  if now - other.seen > SILENT then silent = silent + other.share else heard = heard + other.share end
end
local pace = SHARES - silent
-- Nodes that are not known yet may still go by their last share.
if is_young then pace = heard end
pace = math.max(0, math.min(SHARES, pace))
if now > last then clock = clock + math.floor((now - last) * pace / SHARES) end
-- Later than all that is remembered.
if is_new then clock = clock + 1; epoch = clock end

local others, count = 0, 1
for id, other in pairs(nodes) do
  if id ~= node then
    if now - other.seen > FORGOTTEN and not is_young then
      redis.call('HDEL', KEYS[1], 'node:' .. id)
    else
      others, count = others + other.share, count + 1
    end
  end
end
local share, target = holds, math.floor(SHARES / count)
if share > target then
  share = target
elseif grows then
  share = math.max(share, math.min(target, SHARES - others))
end
local number = function(value) return string.format('%.0f', value) end
-- What it held before counts until it says that it holds less.
redis.call('HSET', KEYS[1], 'run', run, 'clock', number(clock), 'last', number(now), 'epoch', number(epoch),
  'since', number(since), 'node:' .. node, number(math.max(share, holds)) .. ' ' .. number(now))
if not state.seed then redis.call('HSET', KEYS[1], 'seed', seed) end

local reply = {now, share, count, state.seed or seed}
for i = 2, #KEYS do
  local want, token, size = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
  local debt, at = string.match(redis.call('GET', KEYS[i]) or '', '^(%S+) (%d+)$')
  debt, at = tonumber(debt), tonumber(at)
  -- What is not there was never asked for, or is earned back; unless it was lost.
  if not debt or not at or at < epoch then debt, at = size, epoch end
  debt = math.max(0, debt - (clock - at) / token)
  local grant = math.max(0, math.min(want, math.floor(size - debt)))
  if grant > 0 then
    debt = debt + grant
    local lasts = math.ceil(2 * debt * token / 1000) + 2 * FORGOTTEN / 1000
    redis.call('SET', KEYS[i], string.format('%.17g ', debt) .. number(clock), 'PX', number(lasts))
  end
  reply[i + 3] = grant
end
return reply
