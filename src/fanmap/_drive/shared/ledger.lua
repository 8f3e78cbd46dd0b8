-- One exchange with a shared Limits, inside Redis or Valkey: the same as fanmap/_policy/shared/ledger.py, which is the
-- definition and has the reasons. Both are held equal by a differential test. Sections have the modules' names.
--
-- KEYS[1]: the document. ARGV[1]: a request, as MessagePack. Answers the reply, as MessagePack. Empty: the document is
-- begun anew; ARGV[2]: a random number for it. Answers nothing where the key holds something else: it is left as it is
-- until it is begun anew.

local VERSION = 4
local NEVER, FAR = -1e15, 1e15
local HORIZON, BACKGROUND_HORIZON = 0.4, 0.05
local FRONT, BACK, TURN = 0, 1, 2
local REQUESTS, DOLLARS = 1, 3
local REQUESTS_TOLD, OUTPUT_TOLD = 4, 6
local TOTAL = 0
local REFUSED, ANSWERED, FAILED, SPENT, SETTLED, UNUSED, DENIED, PRICED, TOLD = 1, 2, 3, 4, 5, 6, 7, 8, 9
local RATE, CONCURRENCY, RAMP = 1, 2, 3
local TAKEN, STALE, DIFFERENT = 0, 1, 2
local floor, max, min, insert, remove, sort = math.floor, math.max, math.min, table.insert, table.remove, table.sort

local function find(list, value)
  for place = 1, #list do
    if list[place] == value then
      return place
    end
  end
  return nil
end

local function member_of(doc, id)
  for _, member in ipairs(doc.members) do
    if member.id == id then
      return member
    end
  end
  return nil
end

local function wants(member)
  return member.want[1] + member.want[2]
end

-- brake: since, again, round_ends, failing_since, outage_began, rounds, failures, denied, answers, refusals, engaged,
-- outage, next

local function brake_refused(brake, wait, kind, fewer, started, now, max_wait, chance)
  brake[11] = 1
  brake[10] = brake[10] + 1
  if brake[1] <= NEVER or started - brake[2] > max_wait then
    brake[1], brake[6], brake[3] = now, 0, NEVER
  end
  if not fewer and started >= brake[3] then
    brake[6] = brake[6] + 1
    brake[3] = now + 0.5
  end
  local spread = kind == RAMP and 10.0 or kind == CONCURRENCY and 0.0 or 1.0
  if wait and wait ~= 0 then
    local gate = now + wait
    brake[2] = max(brake[2], gate + chance * (0.1 * wait + 0.25))
    brake[3] = max(brake[3], gate)
    return gate, spread
  end
  brake[2] = max(brake[2], now + 0.1 + (0.5 - 0.1) * chance)
  if brake[6] < 2 and kind ~= RAMP then
    return nil, spread
  end
  local gate = now + (0.5 + 0.5 * chance) * min(60.0, 2.0 ^ min(brake[6], 16))
  brake[2] = max(brake[2], gate)
  brake[3] = max(brake[3], gate)
  return gate, spread
end

local function brake_failed(brake, now, started, max_wait, chance)
  brake[11] = 1
  if started - brake[13] > max(max_wait, 60.0) then
    brake[7], brake[12] = 0, 0
  end
  brake[13] = now
  if brake[7] == 0 then
    brake[4] = now
  end
  brake[7] = brake[7] + 1
  if brake[7] < 8 then
    return nil
  end
  if brake[12] == 0 then
    brake[12], brake[5] = 1, now
  end
  local longest = min(8.0, 0.5 * 2.0 ^ min(brake[7] - 8, 8))
  brake[13] = now + longest * (0.5 + 0.5 * chance)
  return brake[13]
end

local function brake_succeeded(brake, started)
  brake[1], brake[8] = NEVER, 0
  brake[9] = brake[9] + 1
  if brake[12] == 0 or started >= brake[5] then
    brake[7], brake[11], brake[12] = 0, 0, 0
  end
end

-- ceiling: value, slow_start, peak, floor, rounds, cubic_k, epoch

local BETA, CUBIC, BINDS, ANSWER = 0.92, 0.4, 0.8, 0.25
local SOON = 10.0

local function ceiling_lower(doc, value, epoch)
  local ceiling = doc.ceiling
  ceiling[7] = max(ceiling[7], epoch)
  if value < ceiling[1] then
    local low = max(doc.minimum, value)
    ceiling[1], ceiling[3], ceiling[4] = low, low, low
    ceiling[5], ceiling[6], ceiling[2] = 0, 0, 0
  end
end

local function ceiling_refused(doc, epoch, crowd, still)
  local ceiling = doc.ceiling
  if epoch ~= ceiling[7] then
    if epoch == ceiling[7] - 1 and still and still < ceiling[1] then
      local low = max(doc.minimum, still)
      ceiling[1], ceiling[3], ceiling[4] = low, low, low
      ceiling[5], ceiling[6] = 0, 0
    end
    return
  end
  ceiling[7] = ceiling[7] + 1
  ceiling[2] = 0
  local good = max(1.0, min(ceiling[1], crowd - 1.0))
  ceiling[3] = good < 0.98 * ceiling[3] and good * (1 + BETA) / 2 or good
  local low = max(doc.minimum, good * BETA)
  ceiling[1], ceiling[4] = low, low
  ceiling[5] = 0
  ceiling[6] = (max(0.0, ceiling[3] - ceiling[1]) / CUBIC) ^ (1 / 3)
end

local function ceiling_answered(doc, epoch, crowd, limit)
  local ceiling = doc.ceiling
  if epoch ~= ceiling[7] or crowd < BINDS * (ceiling[2] ~= 0 and limit or floor(ceiling[1])) then
    return
  end
  if ceiling[2] ~= 0 then
    ceiling[1] = min(doc.maximum, ceiling[1] + 1)
    return
  end
  ceiling[5] = ceiling[5] + ANSWER / ceiling[1]
  local cubic = CUBIC * (ceiling[5] - ceiling[6]) ^ 3 + ceiling[3]
  ceiling[1] = min(doc.maximum, max(ceiling[1], cubic, ceiling[4] + ceiling[5]))
end

-- told

local function is_followed(rate)
  return rate.what >= REQUESTS_TOLD and rate.what <= OUTPUT_TOLD
end

local function untold(doc)
  if doc.told then
    return false
  end
  for _, rate in ipairs(doc.rates) do
    if is_followed(rate) then
      return true
    end
  end
  return false
end

local function binds(rate)
  return rate.per > 0 and (rate.unit > 0 or not is_followed(rate))
end

local function refill_of(rate)
  return rate.pace * rate.window / (rate.window + rate.late)
end

local function slots_of(doc)
  return (doc.brake[12] ~= 0 or untold(doc)) and 1 or floor(doc.ceiling[1])
end

-- rates

local function earliest(rate, now, cost)
  local tau = rate.burst / rate.refill
  return max(now, rate.tat + min(cost / rate.refill, tau) - tau)
end

local function after(rate, tat, start, units)
  if units > 0 then
    return max(tat, start) + units / rate.refill
  end
  return tat
end

local function same(one, other, width)
  return floor(one / width) == floor(other / width)
end

local function forget(rate)
  local cell = remove(rate.cells, 1)
  rate.base, rate.since = after(rate, rate.base, cell[1], cell[2]), cell[1]
end

local function charge(rate, at, cost)
  rate.most = max(rate.most, cost)
  rate.tat = max(rate.tat, at) + cost / rate.refill
  local cells, tau = rate.cells, rate.burst / rate.refill
  local last = cells[#cells]
  if last and same(last[1], at, 1 / 8 * tau) then
    last[1] = at
    last[2] = last[2] + cost
    return
  end
  insert(cells, { at, cost })
  while cells[1][1] < at - max(60.0, 3 * max(rate.per, rate.window)) do
    forget(rate)
  end
  local most = (rate.what == REQUESTS or rate.what == REQUESTS_TOLD) and 16 or 240
  if #cells > most then
    for place = 1, floor(most / 2) do
      if same(cells[place][1], cells[place + 1][1], 1 / 2 * tau) then
        cells[place + 1][2] = cells[place + 1][2] + cells[place][2]
        remove(cells, place)
        return
      end
    end
    forget(rate)
  end
end

local function settle(rate, at, more)
  local found
  for _, cell in ipairs(rate.cells) do
    if cell[1] >= at then
      found = cell
      break
    end
  end
  if found and at > rate.since then
    found[2] = max(0.0, found[2] + more)
  else
    rate.base = rate.base + max(0.0, more) / rate.refill
  end
  rate.tat = rate.tat + max(0.0, more) / rate.refill
end

local function replay(rate)
  local tat = rate.base
  for _, cell in ipairs(rate.cells) do
    tat = after(rate, tat, cell[1], cell[2])
  end
  rate.tat = min(rate.tat, tat)
end

local function forget_all(rate)
  if #rate.cells > 0 then
    rate.since = rate.cells[#rate.cells][1]
  end
  rate.base, rate.cells = rate.tat, {}
end

local function resize(rate, refill, now)
  if rate.tat > now then
    rate.tat = now + (rate.tat - now) * rate.refill / refill
  end
  rate.refill = refill
  forget_all(rate)
end

local function recount(rate, refill)
  rate.refill = refill
  if #rate.cells > 0 then
    rate.tat = rate.base
    for _, cell in ipairs(rate.cells) do
      rate.tat = after(rate, rate.tat, cell[1], cell[2])
    end
  end
end

local function hear(doc, event, now)
  local fresh = not doc.told
  doc.told = true
  local place, unit, ago = event[3], event[4], event[9]
  if place < 0 then
    return
  end
  local rate = doc.rates[place + 1]
  if now - ago < rate.heard then
    return
  end
  rate.heard = now - ago
  if unit == rate.unit and event[5] == rate.amount and event[6] == rate.burst and event[7] == rate.pace
    and event[8] == rate.window then
    return
  end
  local before = rate.unit
  rate.unit, rate.amount, rate.burst, rate.pace, rate.window = unit, event[5], event[6], event[7], event[8]
  if before ~= 0 then
    resize(rate, refill_of(rate), now)
  else
    if not fresh then
      forget_all(rate)
    end
    recount(rate, refill_of(rate))
  end
end

-- totals

local SLACK, MEMORY = 1e-9, 100

local function is_total(rate)
  return rate.per == TOTAL
end

local function charged(rate, cost)
  if rate.what == DOLLARS then
    return min(rate.amount, max(0.0, rate.mean))
  end
  return cost
end

local function open_of(doc, place)
  local units = doc.rates[place].unclaimed
  for _, member in ipairs(doc.members) do
    if #member.open > 0 then
      units = units + member.open[place]
    end
    for _, entry in ipairs(member.box) do
      units = units + entry[3 + place]
    end
  end
  return units
end

local function somebody_settles(doc)
  for _, member in ipairs(doc.members) do
    if member.settling or #member.box > 0 then
      return true
    end
  end
  return false
end

local function exceeds(amount, spent, cost)
  return spent >= amount * (1 - SLACK) or spent + cost > amount * (1 + SLACK)
end

local function beyond(rate, cost)
  return exceeds(rate.amount, rate.spent, charged(rate, cost))
end

local function fits_total(doc, place, cost)
  local rate = doc.rates[place]
  if rate.what == DOLLARS and rate.learnt == 0 and somebody_settles(doc) then
    return false
  end
  local everything = rate.spent + open_of(doc, place) + charged(rate, cost)
  return not beyond(rate, cost) and not exceeds(rate.amount, 0.0, everything)
end

local function learn(rate, many, dollars)
  rate.learnt = min(rate.learnt + many, MEMORY)
  rate.mean = rate.mean + (dollars - many * rate.mean) / max(rate.learnt, many)
end

local function told(doc, me, request, stranger)
  if #request.open == 0 then
    return
  end
  for place, rate in ipairs(doc.rates) do
    if is_total(rate) then
      local before = stranger and request.counted[place] or me.paid[place]
      rate.spent = rate.spent + max(0.0, request.paid[place] - before)
    end
  end
  me.paid, me.open, me.settling = request.paid, request.open, request.settling
end

local function forfeit(doc, member, leaving)
  for place, rate in ipairs(doc.rates) do
    if is_total(rate) then
      local units = #member.open > 0 and member.open[place] or 0.0
      if not leaving then
        local boxed = 0
        for _, entry in ipairs(member.box) do
          if entry[3] <= doc.time then
            boxed = boxed + entry[3 + place]
          end
        end
        units = units + boxed
      end
      rate.spent = rate.spent + units
    end
  end
end

local function clear(doc)
  for _, rate in ipairs(doc.rates) do
    if is_total(rate) then
      rate.spent, rate.brought, rate.unclaimed, rate.mean, rate.learnt = 0, 0, 0, 0, 0
    end
  end
end

local function settle_unclaimed(doc, now)
  if now >= doc.quiet then
    for _, rate in ipairs(doc.rates) do
      rate.spent, rate.unclaimed = rate.spent + rate.unclaimed, 0
    end
  end
end

local function bring(doc, place, me, request, first)
  local rate, known = doc.rates[place], request.known
  local spent, others, mean, learnt = unpack(known.rates[place])
  if known.era >= doc.era then
    local more = max(0.0, spent - rate.brought)
    rate.brought = rate.brought + more
    rate.spent = rate.spent + more
  end
  if rate.learnt == 0 then
    rate.mean, rate.learnt = mean, learnt
  end
  if first then
    rate.unclaimed = others
  else
    local mine = request.open[place] - (#me.open > 0 and me.open[place] or 0)
    rate.unclaimed = max(0.0, rate.unclaimed - max(0.0, mine))
  end
end

local function stuck(doc, me, now)
  if now < doc.quiet or somebody_settles(doc) then
    return false
  end
  for _, asks in ipairs(me.asks) do
    if #asks > 0 then
      for place, rate in ipairs(doc.rates) do
        if is_total(rate) and not fits_total(doc, place, asks[1][1 + place]) then
          return true
        end
      end
    end
  end
  return false
end

-- turns

local PART = 49

local function somebody_is_behind(doc)
  for _, member in ipairs(doc.members) do
    if member.behind then
      return true
    end
  end
  return false
end

local function went_first(doc, starts)
  if somebody_is_behind(doc) then
    doc.passed = min(doc.passed + starts, 2 * PART)
  end
end

local function had_start(doc)
  doc.passed = doc.turn ~= 0 and max(0, doc.passed - PART) or 0
  doc.turn = 0
end

local function tell(doc, me, request, stranger)
  if #doc.rates == 0 and not stranger then
    went_first(doc, max(0, request.starts[1] - me.starts[1]))
    if request.starts[2] > me.starts[2] then
      had_start(doc)
    end
  end
  me.starts, me.behind = request.starts, request.behind
end

local function take_turns(doc, now)
  local holder = member_of(doc, doc.turn)
  if holder and holder.behind then
    return
  end
  doc.turn = 0
  if doc.passed < PART then
    return
  end
  local chosen
  for _, member in ipairs(doc.members) do
    if member.behind then
      local earlier = chosen and (member.turned < chosen.turned
        or (member.turned == chosen.turned and member.id < chosen.id))
      if not chosen or earlier then
        chosen = member
      end
    end
  end
  if not chosen then
    return
  end
  if #doc.lines[2] > 0 then
    chosen = member_of(doc, doc.lines[2][1])
  end
  doc.turn, chosen.turned = chosen.id, now
end

local function before_telling(doc)
  if #doc.rates > 0 or not somebody_is_behind(doc) then
    return 0
  end
  local busy = 0
  for _, member in ipairs(doc.members) do
    if member.want[1] > 0 then
      busy = busy + 1
    end
  end
  return max(1, floor((PART - doc.passed % PART) / max(1, busy)))
end

-- shares

local ODD_SECONDS = 0.1

local function fill(numbers, slots)
  local left, claimants = slots, #numbers
  local ordered = {}
  for place, want in ipairs(numbers) do
    ordered[place] = want
  end
  sort(ordered)
  for _, want in ipairs(ordered) do
    local level = floor(left / claimants)
    if want > level then
      return level, left - level * claimants
    end
    left = left - want
    claimants = claimants - 1
  end
  return slots, 0
end

local function shares(members, slots, now, turn)
  local front, back, total = {}, {}, 0
  for place, member in ipairs(members) do
    front[place], back[place] = member.want[1], member.want[2]
    total = total + member.want[1]
  end
  local parts, level, odd = {}, nil, nil
  if total >= slots then
    local first, kept = {}, 0
    for place, member in ipairs(members) do
      first[place] = member.id == turn and 1 or 0
      kept = kept + first[place]
    end
    level, odd = fill(front, slots - kept)
    for place, want in ipairs(front) do
      parts[place] = { even = min(want, level) + first[place], odd = 0, contested = want > level }
    end
  else
    level, odd = fill(back, slots - total)
    for place, want in ipairs(front) do
      parts[place] = { even = want + min(back[place], level), odd = 0, contested = back[place] > level }
    end
  end
  if odd > 0 then
    local claims = {}
    for place, member in ipairs(members) do
      if parts[place].contested then
        local class, since = 2, -member.odd
        if member.odd == NEVER or member.allow <= parts[place].even then
          class, since = 1, member.turn
        elseif now < member.odd + ODD_SECONDS then
          class, since = 0, 0.0
        end
        insert(claims, { class, since, member.id, place })
      end
    end
    sort(claims, function(one, other)
      for key = 1, 3 do
        if one[key] ~= other[key] then
          return one[key] < other[key]
        end
      end
      return false
    end)
    for rank = 1, min(odd, #claims) do
      parts[claims[rank][4]].odd = 1
    end
  end
  for _, part in ipairs(parts) do
    part.target = part.even + part.odd
  end
  return parts
end

local function grant(member, part, keep, free, now)
  if member.allow > part.target then
    member.allow = max(part.target, min(keep, member.allow))
  elseif free > 0 then
    member.allow = member.allow + min(part.target - member.allow, free)
  end
  if part.contested and member.allow > part.even then
    if member.odd == NEVER then
      member.odd, member.turn = now, now
    end
  elseif member.odd ~= NEVER then
    member.odd, member.turn = NEVER, now
  end
end

-- booking

local function give_back(doc, entry)
  for place, rate in ipairs(doc.rates) do
    if not is_total(rate) then
      settle(rate, entry[3], -entry[3 + place])
      replay(rate)
    end
  end
end

local function without(asks, served)
  local left = {}
  for _, run in ipairs(asks) do
    local taken = min(served, run[1])
    served = served - taken
    if run[1] > taken then
      local rest = {}
      for place, number in ipairs(run) do
        rest[place] = number
      end
      rest[1] = run[1] - taken
      insert(left, rest)
    end
  end
  return left
end

local function ask(doc, me, request, now, lapsed)
  local on_its_way, late = {}, 0.0
  for place, rate in ipairs(doc.rates) do
    late = place == 1 and rate.late or min(late, rate.late)
  end
  for _, entry in ipairs(me.box) do
    if entry[1] > request.got then
      if entry[3] + late < now then
        give_back(doc, entry)
        lapsed = true
      else
        insert(on_its_way, entry)
      end
    end
  end
  me.box = on_its_way
  for kind, line in ipairs(doc.lines) do
    local served = 0
    for _, entry in ipairs(on_its_way) do
      if min(entry[2], BACK) == kind - 1 then
        served = served + 1
      end
    end
    me.asks[kind] = without(request.asks[kind], served)
    local place = find(line, me.id)
    if place and (lapsed or #me.asks[kind] == 0) then
      remove(line, place)
      place = nil
    end
    if #me.asks[kind] > 0 and not place then
      insert(line, lapsed and 1 or #line + 1, me.id)
    end
  end
end

local function next_start(doc, now, run)
  local at = max(now, doc.gate, doc.booked)
  if doc.booked >= doc.gate and at < doc.gate + doc.spread then
    at = max(at, doc.booked + min(doc.spread / slots_of(doc), doc.apart))
  end
  for place, rate in ipairs(doc.rates) do
    if not is_total(rate) then
      at = max(at, earliest(rate, now, run[1 + place]))
    elseif not fits_total(doc, place, run[1 + place]) then
      return FAR
    end
  end
  return at
end

local function goes_beyond(doc, run)
  for place, rate in ipairs(doc.rates) do
    if is_total(rate) and beyond(rate, run[1 + place]) then
      return true
    end
  end
  return false
end

local function next_kind(doc)
  if find(doc.lines[2], doc.turn) then
    return TURN
  end
  return #doc.lines[1] > 0 and FRONT or BACK
end

local function book(doc, now)
  local served = {}
  while true do
    take_turns(doc, now)
    local kind = next_kind(doc)
    local line = doc.lines[1 + min(kind, BACK)]
    if #line == 0 then
      return served, nil
    end
    local member = member_of(doc, kind == TURN and doc.turn or line[1])
    local asks = member.asks[1 + min(kind, BACK)]
    local run = asks[1]
    if goes_beyond(doc, run) then
      member.asks[1 + min(kind, BACK)] = {}
      served[member.id] = true
      remove(line, find(line, member.id))
    else
      local start = next_start(doc, now, run)
      if start > now + (kind == BACK and BACKGROUND_HORIZON or HORIZON) then
        return served, start
      end
      member.boxed = member.boxed + 1
      local entry = { member.boxed, kind, start }
      for place, rate in ipairs(doc.rates) do
        local cost = run[1 + place]
        if is_total(rate) then
          cost = charged(rate, cost)
        else
          charge(rate, start, cost)
        end
        entry[3 + place] = cost
      end
      doc.booked = start
      insert(member.box, entry)
      served[member.id] = true
      run[1] = run[1] - 1
      if run[1] == 0 then
        remove(asks, 1)
      end
      remove(line, find(line, member.id))
      if #asks > 0 then
        insert(line, member.id)
      end
      if kind == FRONT then
        went_first(doc, 1)
      else
        had_start(doc)
      end
    end
  end
end

-- joining

local function agree(doc)
  local members = doc.members
  if #members == 0 then
    return
  end
  local first = members[1].settings
  local minimum, start, maximum = first.minimum, first.start, first.maximum
  for _, member in ipairs(members) do
    minimum = min(minimum, member.settings.minimum)
    start = min(start, member.settings.start)
    maximum = min(maximum, member.settings.maximum)
  end
  local before = doc.maximum
  doc.minimum, doc.start, doc.maximum = minimum, start, maximum
  if #doc.ceiling == 0 then
    doc.ceiling = { start, 1, 0, 0, 0, 0, 0 }
  end
  local value = doc.ceiling[1]
  if value >= before then
    value = max(value, start)
  end
  doc.ceiling[1] = max(minimum, min(value, maximum))
  local known, rates = doc.rates, {}
  for place, want in ipairs(first.rates) do
    local state
    for other, one in ipairs(known) do
      if one.what == want.what and one.per == want.per then
        state = remove(known, other)
        break
      end
    end
    if not state then
      state = {
        what = want.what, per = want.per, tat = NEVER, base = NEVER, since = NEVER, most = 0, cells = {}, spent = 0,
        brought = 0, unclaimed = 0, mean = 0, learnt = 0, unit = 0, window = 0, pace = 0, heard = NEVER,
      }
    end
    for number, member in ipairs(members) do
      local theirs = member.settings.rates[place]
      if state.unit == 0 then
        for _, name in ipairs({ "amount", "burst", "refill" }) do
          state[name] = number == 1 and theirs[name] or min(state[name], theirs[name])
        end
      end
      state.late = number == 1 and theirs.late or max(state.late, theirs.late)
    end
    if state.unit ~= 0 then
      state.refill = refill_of(state)
    end
    rates[place] = state
  end
  doc.rates = rates
end

local function bury(doc, now, leaving)
  local kept, gone = {}, {}
  for _, member in ipairs(doc.members) do
    if member.id == leaving or member.ends < now then
      insert(gone, member)
    else
      insert(kept, member)
    end
  end
  if #gone == 0 then
    return
  end
  doc.members = kept
  for _, member in ipairs(gone) do
    for _, line in ipairs(doc.lines) do
      local place = find(line, member.id)
      if place then
        remove(line, place)
      end
    end
    for _, entry in ipairs(member.box) do
      if entry[3] > now then
        give_back(doc, entry)
      end
    end
    forfeit(doc, member, member.id == leaving)
  end
  agree(doc)
  if #doc.members == 0 then
    clear(doc)
  end
end

local function join(doc, request, now)
  local me = {
    id = request.id, settings = request.settings, turn = now, wake = 0, serial = 0, told = 0, seen = NEVER, ttl = 0,
    ends = NEVER, woken = NEVER, use = 0, want = { 0, 0 }, allow = 0, target = 0, pressed = false, over = false,
    odd = NEVER, asks = { {}, {} }, box = {}, boxed = request.got, open = {}, paid = {}, settling = false,
    starts = { 0, 0 }, behind = false, turned = now,
  }
  insert(doc.members, me)
  agree(doc)
  return me
end

local function refill(doc, me, request, now)
  local known, first = request.known, now >= doc.quiet
  ceiling_lower(doc, known.ceiling, known.epoch)
  local left = now < doc.quiet and doc.unclaimed or floor(doc.ceiling[1])
  doc.unclaimed = max(0, left - max(0, request.keep - me.allow))
  doc.quiet = max(doc.quiet, now + request.ttl)
  me.allow = max(me.allow, request.keep)
  doc.gate = max(doc.gate, now + known.gate)
  for place, rate in ipairs(doc.rates) do
    if is_total(rate) then
      bring(doc, place, me, request, first)
    else
      local brought = known.rates[place]
      rate.most = max(rate.most, brought[2])
      local full = max(rate.burst, rate.most) / rate.refill
      rate.tat = max(rate.tat, now + brought[1], now + HORIZON + full)
      rate.base, rate.since, rate.cells = rate.tat, now + HORIZON, {}
    end
  end
  doc.era = max(doc.era, known.era)
end

-- news

local function shut(doc, til, spread, apart)
  doc.gate = max(doc.gate, til)
  doc.spread, doc.apart = spread, apart
end

local function take(doc, event, now)
  local code = event[2]
  if code == REFUSED then
    local kind, wait, epoch, crowd, still = event[3], event[4], event[5], event[6], event[7]
    local ago, started, max_wait, chance = event[8], event[9], event[10], event[11]
    local paced = false
    for _, rate in ipairs(doc.rates) do
      paced = paced or binds(rate)
    end
    local since = now - started - doc.gate
    local soon = wait < 0 or (since >= 0 and since < SOON)
    local crowded = kind == CONCURRENCY or (kind == RATE and not paced and soon)
    local fewer = kind == CONCURRENCY and (epoch ~= doc.ceiling[7] or floor(doc.ceiling[1]) > doc.minimum)
    if kind == RATE and wait >= 0 then
      crowd = floor(doc.ceiling[1]) + 1
    end
    if crowded then
      ceiling_refused(doc, epoch, crowd, kind == CONCURRENCY and still or nil)
    end
    local named = wait >= 0 and wait or nil
    local gate, spread = brake_refused(doc.brake, named, kind, fewer, now - started, now - ago, max_wait, chance)
    if gate then
      shut(doc, gate, spread, (wait <= 0 or kind == RAMP) and FAR or wait)
    end
  elseif code == ANSWERED then
    for _ = 1, event[6] do
      ceiling_answered(doc, event[3], event[4], event[5])
    end
    brake_succeeded(doc.brake, now - event[7])
    if now - event[7] > doc.spent then
      doc.spent = NEVER
    end
  elseif code == FAILED then
    local probe = brake_failed(doc.brake, now, now - event[3], event[4], event[5])
    if probe then
      shut(doc, probe, 0.0, FAR)
    end
  elseif code == DENIED then
    doc.brake[11] = 1
    doc.brake[8] = doc.brake[8] + 1
  elseif code == SPENT then
    doc.spent = max(doc.spent, now - event[3])
  elseif code == PRICED then
    learn(doc.rates[event[3] + 1], event[4], event[5])
  elseif code == TOLD then
    hear(doc, event, now)
  elseif event[3] == doc.memory then
    if code == SETTLED then
      settle(doc.rates[event[4] + 1], event[5], event[6])
    elseif code == UNUSED then
      for place, rate in ipairs(doc.rates) do
        if not is_total(rate) then
          settle(rate, event[4], -event[5 + place])
        end
      end
    end
  end
end

-- replying

local function to_wake(doc, me, now, parts, hungry, free, booked, over, alarm)
  local order = {}
  for place, member in ipairs(doc.members) do
    insert(order, { member, parts[place] })
  end
  sort(order, function(one, other)
    if one[1].turn ~= other[1].turn then
      return one[1].turn < other[1].turn
    end
    return one[1].id < other[1].id
  end)
  local woken = {}
  for _, pair in ipairs(order) do
    local member, part = pair[1], pair[2]
    if member ~= me then
      local needed = alarm or booked[member.id] or (member.over and not over)
      if part.target > member.allow and free > 0 then
        needed, free = true, free - 1
      elseif member.allow > part.target and (over or hungry.count > (hungry[member.id] and 1 or 0)) then
        needed = needed or not member.pressed or part.target < member.target
      end
      if needed and (member.woken < member.seen or member.woken + 0.1 <= now) then
        member.woken = now
        insert(woken, member.wake)
      end
    end
  end
  return woken
end

local function again_of(doc, me, part, now, head)
  local again = me.ttl / 3
  if me.use > 0 or wants(me) > 0 then
    again = min(again, 1.0)
  end
  if wants(me) > me.allow then
    again = min(again, 0.3)
  end
  if part.contested and me.odd + ODD_SECONDS > now then
    again = min(again, me.odd + ODD_SECONDS - now)
  end
  for kind, line in ipairs(doc.lines) do
    local run = me.asks[kind][1]
    if run and head then
      local a_call = 0.0
      for place, rate in ipairs(doc.rates) do
        local seconds = run[1 + place] / rate.refill
        a_call = place == 1 and seconds or max(a_call, seconds)
      end
      local horizon, least = HORIZON, 0.1
      if kind == 2 then
        horizon, least = BACKGROUND_HORIZON, 0.05
      end
      again = min(again, max(head - horizon - now + (find(line, me.id) - 1) * a_call, least))
    end
  end
  return again
end

local function reply_to(doc, me, now, serial, verdict, booked, head, alarm)
  local members, slots = doc.members, slots_of(doc)
  local parts = shares(members, slots, now, doc.turn)
  local held, rank, elsewhere, waiting, scarce = 0, -1, 0, 0, false
  local hungry = { count = 0 }
  for place, member in ipairs(members) do
    held = held + member.allow
    if parts[place].target > member.allow then
      hungry[member.id], hungry.count = true, hungry.count + 1
    end
    if member == me then
      rank = place - 1
    else
      elsewhere = elsewhere + max(member.use, min(member.allow, wants(member)))
      waiting = waiting + max(0, wants(member) - member.use)
      scarce = scarce or wants(member) > member.allow
    end
  end
  local over = held > slots
  local free = slots - held - (now < doc.quiet and doc.unclaimed or 0)
  local woken = to_wake(doc, me, now, parts, hungry, free, booked, over, alarm)
  if rank < 0 then
    return { serial = serial, verdict = verdict, memory = doc.memory, now = now, wake = woken }
  end
  local part, brake = parts[rank + 1], doc.brake
  me.target, me.over = part.target, over
  me.pressed = over or hungry.count > (hungry[me.id] and 1 or 0)
  local asked, rates = { 0, 0 }, {}
  for kind, asks in ipairs(me.asks) do
    for _, run in ipairs(asks) do
      asked[kind] = asked[kind] + run[1]
    end
  end
  for place, rate in ipairs(doc.rates) do
    if is_total(rate) then
      rates[place] = { rate.spent, open_of(doc, place), rate.amount, rate.burst, rate.mean, rate.learnt }
    else
      rates[place] = { rate.tat, rate.most, rate.amount, rate.burst }
      if is_followed(rate) then
        rates[place][5], rates[place][6] = rate.window, rate.unit
      end
    end
  end
  local tight = head ~= nil and head >= FAR
  return {
    serial = serial, verdict = verdict, memory = doc.memory, now = now, allow = me.allow, target = me.target,
    pressed = me.pressed, over = over, scarce = scarce, ceiling = slots, maximum = doc.maximum, epoch = doc.ceiling[7],
    steady = doc.ceiling[1] >= doc.maximum and brake[11] == 0 and doc.spent == NEVER, outage = brake[12] ~= 0,
    since = brake[1], failing = brake[7] > 0 and brake[4] or NEVER, failures = brake[7], answers = brake[9],
    refusals = brake[10],
    locked_out = brake[8] >= 8, spent = doc.spent, gate = doc.gate, spread = doc.spread, apart = doc.apart,
    elsewhere = elsewhere, waiting = waiting, members = #members, rank = rank, box = me.box, asked = asked,
    rates = rates, era = doc.era, tight = tight, stuck = tight and stuck(doc, me, now), told = me.told,
    untold = untold(doc), turn = me.id == doc.turn, before_telling = before_telling(doc),
    again = again_of(doc, me, part, now, head), wake = woken,
  }
end

-- ledger

local function postpone(doc, leap)
  doc.gate, doc.booked, doc.quiet = doc.gate + leap, doc.booked + leap, doc.quiet + leap
  for _, rate in ipairs(doc.rates) do
    rate.tat, rate.base, rate.since = rate.tat + leap, rate.base + leap, rate.since + leap
    rate.heard = rate.heard + leap
    for _, cell in ipairs(rate.cells) do
      cell[1] = cell[1] + leap
    end
  end
  for _, member in ipairs(doc.members) do
    member.ends = member.ends + leap
    for _, entry in ipairs(member.box) do
      entry[3] = entry[3] + leap
    end
  end
end

local function advance(doc, request, raw)
  local now = raw + doc.skew
  local silence = now - doc.time
  local me = member_of(doc, request.id)
  if me and me.serial == request.replied then
    if now > me.seen + request.age + 0.1 then
      now = me.seen + request.age
    end
    local leap = me.seen + request.rest - max(now, doc.time)
    if leap > 0 then
      postpone(doc, leap)
    end
    now = max(now, me.seen + request.rest)
  elseif silence > 0 then
    for _, member in ipairs(doc.members) do
      member.ends = max(member.ends, min(member.ends + silence, now + 1.5))
    end
  end
  now = max(now, doc.time)
  doc.skew, doc.time = now - raw, now
  return now
end

local function equal(one, other)
  if type(one) ~= "table" then
    return one == other
  end
  for key, value in pairs(one) do
    if not equal(value, other[key]) then
      return false
    end
  end
  return true
end

local function fits(settings, rates)
  if #settings.rates ~= #rates then
    return false
  end
  for place, rate in ipairs(rates) do
    local want = settings.rates[place]
    if want.what ~= rate.what or want.per ~= rate.per then
      return false
    end
  end
  return true
end

local function events_of(doc, me, request, now, stranger)
  local lapsed, settled = false, false
  for _, event in ipairs(request.events) do
    if event[1] > me.told then
      me.told = event[1]
      local once = event[2] == SETTLED or event[2] == UNUSED
      if not (once and stranger) then
        take(doc, event, now)
        settled = settled or once
        lapsed = lapsed or (event[2] == UNUSED and event[5] > 0)
      end
    end
  end
  if settled then
    for _, rate in ipairs(doc.rates) do
      if not is_total(rate) then
        replay(rate)
      end
    end
  end
  return lapsed
end

local function mood(doc)
  local brake = doc.brake
  return { doc.gate, doc.spent, doc.ceiling[7] or 0, brake[12], brake[8] >= 8 }
end

local function exchange(doc, request, raw)
  local now = advance(doc, request, raw)
  bury(doc, now, nil)
  settle_unclaimed(doc, now)
  local me = member_of(doc, request.id)
  if me and request.serial <= me.serial then
    return reply_to(doc, me, now, request.serial, request.serial < me.serial and STALE or TAKEN, {}, nil, false)
  end
  local knows = request.known.memory ~= 0 and request.known.memory ~= doc.memory
  if not me and request.leaving and not knows then
    return { serial = request.serial, verdict = TAKEN, memory = doc.memory, now = now, wake = {} }
  end
  if #doc.members > (me and 1 or 0) and not fits(request.settings, doc.rates) then
    local kinds = {}
    for place, rate in ipairs(doc.rates) do
      kinds[place] = { rate.what, rate.per }
    end
    return { serial = request.serial, verdict = DIFFERENT, memory = doc.memory, now = now, rates = kinds, wake = {} }
  end
  doc.exchanges = doc.exchanges + 1
  local before, stranger = mood(doc), not me
  if not me then
    me = join(doc, request, now)
  elseif not equal(me.settings, request.settings) or not equal(request.settings, me.settings) then
    me.settings = request.settings
    agree(doc)
  end
  if knows then
    refill(doc, me, request, now)
  end
  me.serial, me.seen, me.ttl, me.wake = request.serial, now, request.ttl, request.wake
  me.ends = now + me.ttl
  me.use, me.want = request.use, request.want
  me.allow = max(me.allow, request.use)
  told(doc, me, request, stranger)
  tell(doc, me, request, stranger)
  local lapsed = events_of(doc, me, request, now, stranger)
  if request.leaving then
    bury(doc, now, me.id)
  else
    ask(doc, me, request, now, lapsed)
  end
  local booked, head = book(doc, now)
  take_turns(doc, now)
  if not request.leaving then
    local slots, held = slots_of(doc), 0
    for _, member in ipairs(doc.members) do
      held = held + member.allow
    end
    local parts = shares(doc.members, slots, now, doc.turn)
    for place, member in ipairs(doc.members) do
      if member == me then
        grant(me, parts[place], request.keep, slots - held - (now < doc.quiet and doc.unclaimed or 0), now)
      end
    end
  end
  return reply_to(doc, me, now, request.serial, TAKEN, booked, head, not equal(before, mood(doc)))
end

local function born(fresh, micros, base)
  return {
    memory = 1 + (fresh + micros) % 2 ^ 48, exchanges = 0, time = 0, skew = 0, members = {}, minimum = 1,
    start = 1, maximum = 0, ceiling = {}, brake = { NEVER, 0, NEVER, 0, 0, 0, 0, 0, 0, 0, 0, 0, FAR }, gate = NEVER, spread = 0,
    apart = 0, spent = NEVER, rates = {}, lines = { {}, {} }, booked = NEVER, quiet = NEVER, unclaimed = 0, era = 0,
    passed = 0, turn = 0, told = false, base = base, version = VERSION,
  }
end

local function has_gone_back(doc, request)
  local me = member_of(doc, request.id)
  local forgot = me and me.serial < request.replied
  return request.known.memory == doc.memory and (doc.time < request.known.time or forgot)
end

local function kept()
  local stored = redis.pcall("GET", KEYS[1])
  if not stored then
    return nil, true
  end
  local readable, doc = pcall(cmsgpack.unpack, stored)
  if readable and type(doc) == "table" and doc.version == VERSION then
    return doc, true
  end
  return nil, false
end

local anew = ARGV[1] == ""
local request = anew and {} or cmsgpack.unpack(ARGV[1])
local time = redis.call("TIME")
local micros = request.now and floor(request.now * 1e6) or time[1] * 1e6 + time[2]
local doc, ours = kept()
if anew then
  if not ours then
    redis.call("DEL", KEYS[1])
  elseif doc then
    local era = doc.era + 1
    doc = born(tonumber(ARGV[2]), micros, tonumber(time[1]))
    doc.era = era
    redis.call("SET", KEYS[1], cmsgpack.pack(doc), "PX", 600000)
  end
  return ""
end
if not ours then
  return false
end
if doc and has_gone_back(doc, request) then
  doc = nil
end
doc = doc or born(request.fresh, micros, request.now and 0 or tonumber(time[1]))
local raw = request.now or (time[1] - doc.base) + time[2] / 1e6
local reply = exchange(doc, request, raw)
-- Kept for as long as anything in it still says something: an hourly job with a daily rate must find its rate again.
local keep = max(600, doc.gate - doc.time)
for _, rate in ipairs(doc.rates) do
  keep = max(keep, 2 * max(rate.per, rate.window))
end
redis.call("SET", KEYS[1], cmsgpack.pack(doc), "PX", floor(min(keep, 1e9) * 1000))
for _, member in ipairs(reply.wake) do
  redis.call("PUBLISH", KEYS[1] .. ":" .. string.format("%.0f", member), "")
end
return cmsgpack.pack(reply)
