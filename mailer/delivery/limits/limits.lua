-- Limits in Redis, all or nothing over several keys, in one step and by Redis' own clock.
--
-- The same arithmetic as windows.py, slowing.py and warmup.py, to the last bit: a property test holds the
-- two together. The numbers at the top of those files come in as globals before this text.
--
-- KEYS[1]  the marker: which filling of Redis this is; gone when Redis was emptied
-- KEYS[2]  keys that must outlive Redis, by when they end
-- KEYS[3…] what each limit remembers, MessagePack: JSON would round a time to a tenth of a millisecond
-- ARGV[1]  what to do   ARGV[2] the filling that the caller knows   ARGV[3] the time, for tests   ARGV[4…] its own

local MARKER, INDEX = KEYS[1], KEYS[2]
local floor, max, min = math.floor, math.max, math.min
local ALL = 2147483648

local function clock()
  if ARGV[3] ~= '' then return tonumber(ARGV[3]) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function exact(number) return string.format('%.17g', number) end

-- Gates ------------------------------------------------------------------------------------------

-- What still counts of a log (first grant, last grant, messages, …), its sum, and for when that is so. Many
-- asks come in one call, and the log of a window is long: it is gone through once.
local counted_for, sum_of = {}, {}

local function counting(memory, now, seconds)
  if memory and counted_for[memory] == now then return memory end
  local log, sum = {}, 0
  for i = 1, memory and #memory or 0, 3 do
    local last = memory[i + 1]
    if now < last + seconds and last <= now + seconds then
      local at = #log
      log[at + 1], log[at + 2], log[at + 3] = memory[i], last, memory[i + 2]
      sum = sum + memory[i + 2]
    end
  end
  counted_for[log], sum_of[log] = now, sum
  return log
end

local function copied(memory)
  if type(memory) ~= 'table' then return memory end
  local copy = {}
  for i, part in ipairs(memory) do copy[i] = part end
  counted_for[copy], sum_of[copy] = counted_for[memory], sum_of[memory]
  return copy
end

local function quota(count, seconds)
  local gate = {name = 'quota:' .. seconds, lot = 1, lasts = seconds}
  function gate.load(memory, now) return counting(memory, now, seconds) end
  function gate.room(memory, now)
    return max(0, count - sum_of[counting(memory, now, seconds)])
  end
  function gate.wait(memory, now, wanted)
    local log = counting(memory, now, seconds)
    local missing = min(wanted, count) - count + sum_of[log]
    if missing <= 0 then return 0 end
    for i = 1, #log, 3 do
      missing = missing - log[i + 2]
      if missing <= 0 then return log[i + 1] + seconds - now end
    end
    return 0
  end
  -- May change the memory that it is given.
  function gate.after(memory, now, granted)
    local log = counting(memory, now, seconds)
    local slot = #log - 2
    if slot > 0 and now - log[slot] < seconds / SLOTS then
      log[slot + 1], log[slot + 2] = max(log[slot + 1], now), log[slot + 2] + granted
    else
      log[slot + 3], log[slot + 4], log[slot + 5] = now, now, granted
    end
    sum_of[log] = sum_of[log] + granted
    return log
  end
  return gate
end

local function pace(name, per_second)
  local burst = max(MIN_BURST, per_second * BURST_SECONDS)
  local gate = {name = name, lot = max(1, floor(per_second * LOT_SECONDS)), lasts = LONGEST_PACE}
  local function due_at(memory, now)
    local due = memory or now
    if due > now + burst / per_second + EPSILON then return now end
    return max(due, now)
  end
  function gate.room(memory, now)
    local ahead = (due_at(memory, now) - now) * per_second
    return max(0, floor(burst - ahead + EPSILON))
  end
  function gate.wait(memory, now, wanted)
    local spared = burst - min(wanted, floor(burst))
    return max(0, due_at(memory, now) - spared / per_second - now)
  end
  function gate.after(memory, now, granted) return due_at(memory, now) + granted / per_second end
  return gate
end

local function warmup(schedule)
  local gate = {name = 'warmup', lot = 1, lasts = math.huge}
  local function today(memory, now)
    local day = floor(now / DAY_SECONDS)
    if not memory then return day, 0, 0 end
    if day <= memory[1] then return memory[1], memory[2], memory[3] end
    return day, memory[2] + (memory[3] > 0 and 1 or 0), 0
  end
  function gate.room(memory, now)
    local _, step, sent = today(memory, now)
    return step < #schedule and max(0, schedule[step + 1] - sent) or ALL
  end
  function gate.wait(memory, now, wanted)
    local day, step = today(memory, now)
    local most = step < #schedule and min(wanted, schedule[step + 1]) or wanted
    if gate.room(memory, now) >= most then return 0 end
    return (day + 1) * DAY_SECONDS - now
  end
  function gate.after(memory, now, granted)
    local day, step, sent = today(memory, now)
    return {day, step, sent + granted}
  end
  return gate
end

local function hold(until_)
  return {
    name = 'hold', lot = 1, lasts = 0,
    room = function(_, now) return now < until_ and 0 or ALL end,
    wait = function(_, now) return max(0, until_ - now) end,
    after = function(memory) return memory end,
  }
end

local function factor_now(slowed, now)
  return slowed.factor + RECOVERY * max(0, now - max(slowed.at, slowed.hold))
end

local function lasting_gates(terms)
  local gates = {}
  for _, rate in ipairs(terms.rates) do gates[#gates + 1] = quota(rate[1], rate[2]) end
  for _, rate in ipairs(terms.rates) do
    if rate[2] <= LONGEST_PACE then gates[#gates + 1] = pace('pace:' .. rate[2], rate[1] / rate[2]) end
  end
  if #terms.warmup > 0 then gates[#gates + 1] = warmup(terms.warmup) end
  return gates
end

local function gates_of(terms, memory, now)
  local gates, slowed = lasting_gates(terms), memory.slowed
  local held = false
  if slowed then
    local factor = factor_now(slowed, now)
    held = now < slowed.hold or factor < 1
    if now < slowed.hold then gates[#gates + 1] = hold(slowed.hold) end
    if factor < 1 then gates[#gates + 1] = pace('pace:slowed', slowed.full * factor) end
  end
  return gates, held
end

-- What transactional mail waits for in this window, bulk mail must not take. True when that is news.
local function comes_next(memory, gates, rest, now)
  local wait, before = 0, memory.urgent
  if rest > 0 then
    for _, gate in ipairs(gates) do wait = max(wait, gate.wait(memory[gate.name], now, rest)) end
  end
  memory.urgent = (wait > 0 and wait <= LONGEST_PACE) and now + wait + URGENT_SECONDS or nil
  return memory.urgent ~= nil or before ~= nil
end

-- Memories ---------------------------------------------------------------------------------------

local function remembered(key)
  local packed = redis.call('GET', key)
  return packed and cmsgpack.unpack(packed) or {}
end

-- What outlasts a minute must outlive Redis, too.
local function remember(key, memory, gates, now)
  local lasts = 0
  for _, gate in ipairs(gates) do lasts = max(lasts, gate.lasts) end
  if memory.slowed then lasts = max(lasts, 1 / RECOVERY + max(0, memory.slowed.hold - now)) end
  if lasts == math.huge then
    redis.call('SET', key, cmsgpack.pack(memory))
    redis.call('ZADD', INDEX, '+inf', key)
    return
  end
  redis.call('SET', key, cmsgpack.pack(memory), 'PX', math.ceil(lasts * 1000) + 1000)
  if lasts > LONGEST_PACE then redis.call('ZADD', INDEX, exact(now + lasts), key) end
end

-- What to do -------------------------------------------------------------------------------------

local function through(gate, memory, wanted, now)
  local room = min(wanted, gate.room(memory, now))
  return room >= min(wanted, gate.lot) and room or 0
end

local function decide(gates, wanted, now)
  local granted = wanted
  for _, found in ipairs(gates) do
    granted = min(granted, through(found.gate, found.memory, wanted, now))
  end
  local rest, wait = wanted - granted, 0
  if rest == 0 then return granted, 0 end
  for _, found in ipairs(gates) do
    local gate, memory = found.gate, found.memory
    if granted > 0 then memory = gate.after(copied(memory), now, granted) end
    wait = max(wait, gate.wait(memory, now, min(rest, gate.lot)))
  end
  return granted, max(wait, SHORTEST_WAIT)
end

local function grant(ask, gates, now)
  if not ask.consume then return decide(gates, ask.wanted, now + ask.patience) end
  local soon = 0
  for _, found in ipairs(gates) do soon = max(soon, found.gate.wait(found.memory, now, ask.wanted)) end
  if soon > 0 and soon <= ask.patience then return 0, soon end
  return decide(gates, ask.wanted, now)
end

local function answer(now, open_at)
  local request = cjson.decode(ARGV[4])
  local known, changed, grants, at_full_speed = {}, {}, {}, {}
  for i, terms in ipairs(request.terms) do
    local memory = remembered(KEYS[i + 2])
    local gates, held = gates_of(terms, memory, now)
    for _, gate in ipairs(gates) do
      if gate.load then memory[gate.name] = gate.load(memory[gate.name], now) end
    end
    known[i] = {memory = memory, gates = gates}
    known[i].bulk = terms.bulk and gates_of(terms.bulk, memory, now) or gates
    if not held then
      at_full_speed[#at_full_speed + 1] = i
      changed[i] = memory.slowed ~= nil
      memory.slowed, memory['pace:slowed'] = nil, nil
    end
  end
  for _, ask in ipairs(request.asks) do
    local gates = {}
    for _, i in ipairs(ask.keys) do
      local memory = known[i].memory
      for _, gate in ipairs(ask.urgent and known[i].gates or known[i].bulk) do
        gates[#gates + 1] = {gate = gate, memory = memory[gate.name]}
      end
      if not ask.urgent and memory.urgent then gates[#gates + 1] = {gate = hold(memory.urgent)} end
    end
    local granted, wait = 0, min(open_at - now, SETTLE_STEP) -- it may open sooner
    if wait <= 0 then granted, wait = grant(ask, gates, now) end
    if ask.consume and granted > 0 then
      for _, i in ipairs(ask.keys) do
        local memory = known[i].memory
        for _, gate in ipairs(known[i].gates) do
          memory[gate.name] = gate.after(memory[gate.name], now, granted)
        end
        changed[i] = true
      end
    end
    if ask.consume and ask.urgent and open_at <= now then
      for _, i in ipairs(ask.keys) do
        local news = comes_next(known[i].memory, known[i].gates, ask.wanted - granted, now)
        changed[i] = changed[i] or news
      end
    end
    grants[#grants + 1], grants[#grants + 2] = granted, exact(wait)
  end
  for i, own in ipairs(known) do
    if changed[i] then remember(KEYS[i + 2], own.memory, own.gates, now) end
  end
  return {exact(now), grants, at_full_speed}
end

-- Of a limit by name, until when it is slowed down.
local function slowed_keys(key, now)
  local found, last = {}, now
  for name, ends in pairs(remembered(key)) do
    if ends > now then found[name], last = ends, max(last, ends) end
  end
  return found, last
end

local function slowed(now)
  local names = {}
  for name in pairs(slowed_keys(KEYS[3], now)) do names[#names + 1] = name end
  return names
end

local function full_rate(flow, rate)
  local full = UNSEEN_PER_SECOND
  if flow > 0 then full = flow elseif rate > 0 then full = rate end
  if rate > 0 then full = min(full, rate) end
  return max(full, 2 * LEAST_PER_SECOND)
end

-- True when this process had something to add.
local function joined(slowed, part, now)
  if not slowed or now >= (slowed.since or -JOIN_SECONDS) + JOIN_SECONDS or part.flow <= 0 then return false end
  for _, process in ipairs(slowed.by) do
    if process == part.process then return false end
  end
  slowed.flow, slowed.by[#slowed.by + 1] = slowed.flow + part.flow, part.process
  slowed.full = full_rate(slowed.flow, part.rate)
  return true
end

local function join(now)
  local request, memory = cjson.decode(ARGV[4]), remembered(KEYS[3])
  if joined(memory.slowed, request.part, now) then
    remember(KEYS[3], memory, lasting_gates(request.terms), now)
  end
  return {}
end

local function slow_down(now)
  local request, memory = cjson.decode(ARGV[4]), remembered(KEYS[3])
  local slowed, until_ = memory.slowed, 0
  if request.seconds > 0 then until_ = now + request.seconds end
  local factor = slowed and factor_now(slowed, now) or 1
  if factor >= 1 then
    local part = request.part
    slowed = {factor = 0.5, at = now, hold = until_, since = now, flow = part.flow, by = {part.process}}
    slowed.full = full_rate(part.flow, part.rate)
  else
    joined(slowed, request.part, now)
    slowed.hold = max(until_, slowed.hold)
    if now - slowed.at >= COOLDOWN_SECONDS then
      slowed.factor, slowed.at = max(LEAST_PER_SECOND / slowed.full, factor / 2), now
    end
  end
  memory.slowed = slowed
  remember(KEYS[3], memory, lasting_gates(request.terms), now)
  local known, last = slowed_keys(KEYS[4], now)
  known[request.key] = max(slowed.at, slowed.hold) + (1 - slowed.factor) / RECOVERY
  last = max(last, known[request.key])
  redis.call('SET', KEYS[4], cmsgpack.pack(known), 'PX', math.ceil((last - now) * 1000) + 1000)
  redis.call('ZADD', INDEX, exact(last), KEYS[4])
  return {}
end

-- When Redis was emptied ---------------------------------------------------------------------------

local function look(_, open_at) return exact(open_at) end

-- The processes that share the limits, by KEYS[3], and by KEYS[4] those who would have to speak if Redis were
-- emptied now; the copy holds them. While it settles nobody of those is forgotten.
local function present(now, open_at, process, leaves)
  if leaves then
    redis.call('ZREM', KEYS[3], process)
  else
    redis.call('ZADD', KEYS[3], exact(now), process)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', exact(now - GONE_SECONDS))
  local names, listed = redis.call('ZRANGE', KEYS[3], 0, -1), {}
  for _, name in ipairs(names) do listed[name] = true end
  for _, name in ipairs(now < open_at and remembered(KEYS[4]) or {}) do
    if not listed[name] and not (leaves and name == process) then names[#names + 1] = name end
  end
  table.sort(names)
  redis.call('SET', KEYS[4], cmsgpack.pack(names))
  redis.call('ZADD', INDEX, '+inf', KEYS[4])
end

-- No sooner than a second after the last grant of all: windows of a second are not copied.
local function open_when_all_have_spoken(now)
  for _, name in ipairs(remembered(KEYS[4])) do
    if redis.call('HEXISTS', MARKER, 'spoke:' .. name) == 0 then return end
  end
  local last_grant = tonumber(redis.call('HGET', MARKER, 'last_grant') or '0')
  redis.call('HSET', MARKER, 'open_at', exact(max(now, last_grant + 1)))
end

-- One process has said all that it knows. ARGV: its name, and when it was granted anything last.
local function spoken(now, open_at)
  if now >= open_at then return {} end
  local last_grant = tonumber(redis.call('HGET', MARKER, 'last_grant') or '0')
  redis.call('HSET', MARKER, 'last_grant', exact(max(last_grant, tonumber(ARGV[5]))))
  redis.call('HSET', MARKER, 'spoke:' .. ARGV[4], '1')
  present(now, open_at, ARGV[4], false)
  open_when_all_have_spoken(now)
  return {}
end

-- Once per interval, for whoever comes first: everything that must outlive Redis. ARGV: the interval, the name
-- of the process, and whether this is its last beat.
local function beat(now, open_at, beat_at)
  present(now, open_at, ARGV[5], ARGV[6] ~= '')
  if now < open_at then open_when_all_have_spoken(now) end
  if now - beat_at < tonumber(ARGV[4]) then return {''} end
  redis.call('HSET', MARKER, 'beat_at', exact(now))
  redis.call('ZREMRANGEBYSCORE', INDEX, '-inf', exact(now))
  local found = {exact(now)}
  for _, key in ipairs(redis.call('ZRANGE', INDEX, 0, -1)) do
    local packed = redis.call('GET', key)
    if packed then
      found[#found + 1], found[#found + 2] = key, packed
      found[#found + 1] = redis.call('ZSCORE', INDEX, key)
    end
  end
  return found
end

-- ARGV: seconds until the first grant, time of the copy, then key, memory and end of each.
local function restore(now)
  local filling = redis.call('HGET', MARKER, 'filling')
  if filling then return {filling} end
  redis.call('HSET', MARKER, 'filling', ARGV[2], 'open_at', exact(now + tonumber(ARGV[4])),
    'beat_at', '0', 'copied_at', ARGV[5])
  for i = 6, #ARGV, 3 do
    local key, packed, ends = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if ends == 'inf' then
      redis.call('SET', key, packed)
    elseif tonumber(ends) > now then
      redis.call('SET', key, packed, 'PX', math.ceil((tonumber(ends) - now) * 1000))
    end
    redis.call('ZADD', INDEX, ends == 'inf' and '+inf' or ends, key)
  end
  return {ARGV[2]}
end

-- What one process was granted after the copy was made.
local function replay(now)
  for i, own in ipairs(cjson.decode(ARGV[4])) do
    local memory = remembered(KEYS[i + 2])
    local gates = lasting_gates(own.terms)
    for j = 1, #own.granted, 2 do
      for _, gate in ipairs(gates) do
        if gate.lasts > LONGEST_PACE then
          memory[gate.name] = gate.after(memory[gate.name], own.granted[j], own.granted[j + 1])
        end
      end
    end
    remember(KEYS[i + 2], memory, gates, now)
  end
  return {}
end

local now = clock()
if ARGV[1] == 'restore' then return restore(now) end
local marker = redis.call('HMGET', MARKER, 'filling', 'open_at', 'beat_at', 'copied_at')
local filling = marker[1] or ''
if filling == '' or filling ~= ARGV[2] then return {filling, marker[4] or '0'} end
local does = {
  answer = answer, slow_down = slow_down, join = join, slowed = slowed, look = look, spoken = spoken, beat = beat,
  replay = replay,
}
return {filling, does[ARGV[1]](now, tonumber(marker[2]), tonumber(marker[3]))}
