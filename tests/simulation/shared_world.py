"""Processes under one shared name, a store and a network, in virtual time: what may go wrong between them does.

The processes are as small as they can be: some calls that run, a line for slots and a line for starts, and the
library's own `Member`. The store is the library's own ledger. Nothing here decides anything.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from random import Random

from fanmap._policy.limits.rate import Rate, pace
from fanmap._policy.shared.demand import Demand
from fanmap._policy.shared.document import DOLLARS, NEVER
from fanmap._policy.shared.joining import born, has_gone_back
from fanmap._policy.shared.ledger import exchange
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.messages import DIFFERENT, TOLD
from fanmap._policy.shared.told import is_followed, untold
from fanmap._policy.shared.totals import is_total, open_of

TINY = 1e-9


@dataclass(eq=False)
class Call:
    cost: float
    asked: float  # true time
    seconds: float
    background: bool = False
    slotted: float = math.nan
    started: float = math.nan
    appointment: object = None
    epoch: int = 0
    crowd: int = 0
    limit: int = 0


class Process:
    """One process: its calls, and what it knows of the others."""

    def __init__(self, world, number, settings, ttl, drift=0.0, callers=0, jobs=0):
        self.world = world
        self.member = Member(number, settings, ttl, wake=number)
        self.rated = bool(settings.rates)
        self.known = None  # of the server's limit
        self.drift = 1.0 + drift
        self.zero = world.chance.uniform(-1e6, 1e6)
        self.slot_line = deque()
        self.rate_line = deque()
        self.running = []
        self.callers = callers  # that ask again as soon as they are answered
        self.jobs = jobs  # the same in the background
        self.last = -math.inf
        self.backing_off = [0, 0]
        self.alive = True
        self.frozen = False
        self.reaches = True  # the store
        self.waits_since = None  # true time since which its first call waits for a slot
        self.pending_since = math.inf  # true time
        self.heard = -math.inf  # true time when that was asked for whose reply came last
        self.check = math.inf

    def clock(self, at=None):
        return ((self.world.now if at is None else at) + self.zero) * self.drift

    def true(self, local):
        return local / self.drift - self.zero

    @property
    def use(self):
        return len(self.running) + len(self.rate_line)

    def demand(self):
        booked = self.member.booked(self.clock())
        waiting = self.in_turn()[booked:] if self.rated else []
        asks = tuple([self.costs(call) for call in waiting if call.background is kind] for kind in (False, True))
        settling = bool(self.running or booked)
        want = tuple(self.count(kind, self.slot_line, self.rate_line, self.running) for kind in (False, True))
        waits = bool(asks[1]) if self.rated else self.count(True, self.rate_line) > 0
        return Demand(self.use, want, asks, settling, waits or self.count(True, self.slot_line) > 0)

    def count(self, background, *lines):
        return sum(call.background is background for line in lines for call in line)

    def in_turn(self, first=None):
        """Those who wait for a start, in the order in which they will."""
        line = sorted(self.rate_line, key=lambda call: call.background)
        first = self.member.next_is_background() if first is None else first
        first = next((call for call in line if call.background), None) if first else None
        if first is not None:
            line.remove(first)
            line.insert(0, first)
        return line

    def due_for_slot(self):
        """Is the next slot the background's?"""
        return self.member.background_is_due() and not self.count(True, self.rate_line)

    def first_for_slot(self):
        kinds = (True, False) if self.due_for_slot() else (False, True)
        return next(call for kind in kinds for call in self.slot_line if call.background is kind)

    def make_room(self):
        """Who waits for a start gives its slot to the other kind, where that goes first."""
        first = self.first_for_slot()
        kept = self.in_turn(True)[:1] if self.member.background_is_due() else []
        others = [call for call in self.rate_line if call.background is not first.background and call not in kept]
        if not others or (first.background and not self.due_for_slot()):
            return False
        self.rate_line.remove(others[-1])
        self.slot_line.appendleft(others[-1])
        return True

    def costs(self, call):
        rates = self.member.settings.rates
        return [0.0 if is_total(rate) and rate.what == DOLLARS else call.cost for rate in rates]

    def never_starts(self, call):
        """A total has nothing left for it."""
        member, costs = self.member, self.costs(call)
        if member.purse is None:
            return False
        if any(member.purse.beyond(place, costs[place]) for place in member.purse.places):
            return True
        tight = any(not member.purse.fits(place, costs[place]) for place in member.purse.places)
        return tight and member.purse.stuck and not self.running and not member.booked(self.clock())

    def ask(self, background=False):
        self.slot_line.append(Call(self.world.cost(), self.world.now, self.world.duration(), background))

    def go_on(self):
        """Move both lines as far as they go, as admission does."""
        if self.frozen or not self.alive:
            return
        member, now = self.member, self.clock()
        member.saw(now, self.use + len(self.slot_line))
        # Who waits for a start that is not booked does not keep a slot that others wait for.
        booked = 0 if member.over else member.booked(now)
        while self.use > member.cap(now) and member.pressed and len(self.rate_line) > booked:
            last = self.in_turn(member.background_is_due())[-1]
            self.rate_line.remove(last)
            self.slot_line.appendleft(last)
        while self.slot_line and (self.use < member.cap(now) or self.make_room()):
            call = self.first_for_slot()
            self.slot_line.remove(call)
            call.slotted = self.world.now
            self.world.slotted(self, call)
            self.rate_line.append(call)
        if any(map(self.never_starts, self.rate_line)):  # its run ends
            self.callers = self.jobs = 0
            self.slot_line.clear()
            self.rate_line = deque(call for call in self.rate_line if not self.never_starts(call))
        while self.rate_line and member.may_start(now):
            call = self.in_turn()[0]
            at = member.opens(now, self.last)
            if self.rated:
                at = max(at, member.earliest(now, self.costs(call)))
            if at > now:
                self.check = at
                break
            self.rate_line.remove(call)
            member.started(background=call.background)
            call.appointment = member.begin() if self.rated else None
            call.epoch, call.limit = member.epoch, member.ceiling
            call.crowd = member.elsewhere + self.use + 1
            call.started = self.world.now
            self.last = now
            self.running.append(call)
            self.world.started(self, call)
        self.world.plan(self)

    def end(self, call, took=None):
        """A call is over; it took so much of each rate."""
        if call not in self.running:
            return
        self.running.remove(call)
        now = self.clock()
        if call.appointment is not None:
            costs = call.appointment.costs
            if took is not None and took < call.cost:
                self.world.took_less(self, call, took)
            settings = self.member.settings.rates
            actual = [
                took if took is not None else call.cost if is_total(rate) and rate.what == DOLLARS else cost
                for rate, cost in zip(settings, costs, strict=True)
            ]
            self.member.settle(call.appointment, actual, now)
            for place, rate in enumerate(settings):
                if is_total(rate) and rate.what == DOLLARS:
                    self.member.happenings.priced(place, 1, actual[place], now)
        if self.world.told is not None and self.world.told != self.known:
            self.learn(self.world.told)
        self.world.ended(self, call, call.cost if took is None else took)
        if not self.member.steady:
            urgent = self.member.outage or self.member.spent is not None
            self.member.happenings.answered(
                call.epoch, call.crowd, call.limit, self.clock(call.started), now, urgent=urgent
            )
        self.again()

    def again(self):
        for background, most in ((False, self.callers), (True, self.jobs)):
            while self.asked(background) < most:
                self.ask(background)
        self.go_on()

    def asked(self, background):
        return self.count(background, self.slot_line, self.rate_line, self.running) + self.backing_off[background]

    def learn(self, told):
        """An answer tells the server's limit of requests: so many in so many seconds."""
        rate = Rate(*told)
        place = next(place for place, one in enumerate(self.member.settings.rates) if is_followed(one))
        self.known = told
        self.member.happenings.learned(place, 1, (rate.amount, *pace(rate), rate.per), self.clock())

    def follow(self):
        """What anybody was told is everybody's; a store that has lost its memory is told again."""
        member = self.member
        if member.happenings.is_telling(TOLD):
            return
        if member.limits:
            self.known = member.limits[0][2:]
        elif member.untold and self.known:
            self.learn(self.known)

    def give_up(self, call):
        """A call that waits is cancelled."""
        for line in (self.slot_line, self.rate_line):
            if call in line:
                line.remove(call)
        self.go_on()

    def refused(self, call, kind, wait):
        """A call came back: the server said no."""
        if call not in self.running:
            return
        member, now = self.member, self.clock()
        crowd = max(call.crowd, member.elsewhere + self.use)
        still = member.elsewhere + len(self.running) - 1
        member.happenings.refused(
            kind, wait, call.epoch, crowd, still, self.clock(call.started), now, 300.0, self.world.chance.random()
        )
        if wait is not None:
            member.shut(now + wait, 0.0 if kind == "concurrency" else 1.0, wait)
        self.running.remove(call)
        self.backing_off[call.background] += 1
        again = self.world.now + self.world.chance.uniform(0.1, 0.5) + (wait or 0.0)
        self.world.at(again, lambda: self.come_back(call.background))
        self.go_on()

    def come_back(self, background):
        self.backing_off[background] -= 1
        if self.alive and self.asked(background) < max(self.jobs if background else self.callers, 1):
            self.ask(background)
            self.go_on()


@dataclass(order=True)
class Event:
    at: float
    number: int
    act: object = field(compare=False)


class World:
    """All of it, and a clock that only this world turns."""

    def __init__(self, seed, settings, *, ttl=3.0, latency=(0.0002, 0.002), seconds=(0.05, 0.5), costs=(1.0,)):
        self.chance = Random(seed)
        self.settings = settings
        self.ttl = ttl
        self.latency, self.seconds, self.costs = latency, seconds, costs
        self.now = 0.0
        self.jump = 5000.0  # the store's clock shows so much more
        self.leapt = -math.inf  # true time when it was last set forward
        self.document = None
        self.processes = []
        self.events = []
        self.number = 0
        self.losing = 0.0  # share of messages that get lost, of requests that come twice, and of wakes
        self.doubling = 0.0
        self.waking = 1.0
        self.known_dead = True  # does the store see who is dead? (a file does)
        self.wrong = []
        self.bringing = False  # a memory was lost: what comes back may be more than there is
        self.starts = []  # (true time, cost, process)
        self.last_start = {}
        self.kinds = {}  # starts of each process in the foreground and in the background
        self.waits = []  # (true seconds, process) for slots
        self.exchanges = 0
        self.ever = 0
        self.timeout = 0.5
        self.told = (30.0, 3.0) if any(map(is_followed, settings.rates)) else None  # by the server

    # What happens

    def process(self, callers=0, settings=None, drift=None, jobs=0):
        self.ever += 1
        number = self.chance.randrange(1 << 48)
        drift = self.chance.uniform(-1e-4, 1e-4) if drift is None else drift
        process = Process(self, number, settings or self.settings, self.ttl, drift, callers, jobs)
        self.processes.append(process)
        process.again()
        return process

    def cost(self):
        return self.chance.choice(self.costs)

    def duration(self):
        return self.chance.uniform(*self.seconds)

    def at(self, when, act):
        self.number += 1
        heapq.heappush(self.events, Event(max(when, self.now), self.number, act))

    def run(self, seconds):
        """Let time pass."""
        until = self.now + seconds
        while self.events and self.events[0].at <= until:
            event = heapq.heappop(self.events)
            self.now = max(self.now, event.at)
            event.act()
        self.now = until

    def plan(self, process):
        """When this process has to do something next."""
        if process.frozen or not process.alive:
            return
        now = process.clock()
        wait = math.inf
        if process.pending_since == math.inf:
            wait = process.member.due(now, *process.demand().counts()) - now
        if process.check > now:
            wait = min(wait, process.check - now)
        if wait < math.inf:
            self.at(self.now + max(0.0, wait) / process.drift + TINY, lambda: self.look(process))

    def look(self, process):
        if process.frozen or not process.alive:
            return
        if process.check <= process.clock():
            process.check = math.inf
            process.go_on()
        if (
            process.pending_since == math.inf
            and process.member.due(process.clock(), *process.demand().counts()) <= process.clock()
        ):
            self.send(process)

    def send(self, process):
        request = process.member.compose(process.clock(), process.demand(), self.chance.randrange(1, 1 << 48))
        process.pending_since = self.now
        self.at(self.now + self.timeout, lambda: self.gave_up(process, request))
        if not process.reaches or self.chance.random() < self.losing:
            return
        delays = [self.chance.uniform(*self.latency)]
        while self.chance.random() < self.doubling:
            delays.append(self.chance.choice((self.chance.uniform(*self.latency), self.chance.uniform(0.0, 5.0))))
        for delay in delays:
            self.at(self.now + delay, lambda: self.arrived(process, request))
        return

    def gave_up(self, process, request):
        if process.alive and process.member._pending is request:
            process.member.lost()
            process.pending_since = math.inf
            if not process.frozen:
                self.at(self.now + 0.05, lambda: self.look(process))
            process.go_on()

    def arrived(self, process, request):
        """The store takes a request."""
        if self.document is None or has_gone_back(self.document, request):
            self.document = born(request.fresh, self.now + self.jump)
        document = self.document
        dead = [other.member.number for other in self.processes if not other.alive] if self.known_dead else []
        before = {member.id: member.allow for member in document.members}
        self.exchanges += 1
        reply = self.exchange(request, dead)
        self.check_document(document, before, request, reply)
        for wake in reply.wake:
            if self.chance.random() < self.waking * (1 - self.losing):
                self.at(self.now + self.chance.uniform(*self.latency), lambda wake=wake: self.woke(wake))
        if process.reaches and self.chance.random() >= self.losing:
            self.at(self.now + self.chance.uniform(*self.latency), lambda: self.answered(process, reply))

    def exchange(self, request, dead):
        return exchange(self.document, request, self.now + self.jump, dead)

    def answered(self, process, reply):
        if not process.alive:
            return
        if process.frozen:
            process.held_up.append(reply)
            return
        if process.member.take(reply, process.clock()):
            process.heard, process.pending_since = process.pending_since, math.inf
            process.follow()
            process.go_on()
        self.covered()

    def woke(self, wake):
        for process in self.processes:
            if process.member.wake == wake and process.alive and not process.frozen:
                process.member.poke()
                self.plan(process)

    def started(self, process, call):
        if self.now < process.true(process.member.gate) - 1e-6:
            self.wrong.append(f"{self.now:.3f}: started inside a gate")
        if process.clock() >= process.member.lease:
            self.wrong.append(f"{self.now:.3f}: started without a lease")
        self.starts.append((self.now, call.cost, process))
        self.last_start[process] = self.now
        self.kinds.setdefault(process, [0, 0])[call.background] += 1
        self.at(self.now + call.seconds, lambda: None if process.frozen else process.end(call))
        self.on_start(process, call)

    def ended(self, process, call, took):
        pass

    def slotted(self, process, call):
        self.waits.append((self.now - call.asked, process))
        self.on_slot(process, call)

    def on_start(self, process, call):
        pass

    def on_slot(self, process, call):
        pass

    def buried_early(self):
        pass

    def took_less(self, process, call, took):
        """A window holds what its calls took."""
        for place, start in enumerate(self.starts):
            if start == (call.started, call.cost, process):
                self.starts[place] = call.started, took, process
                return

    # Faults

    def kill(self, process):
        process.alive = False
        process.running.clear()
        process.rate_line.clear()
        process.slot_line.clear()

    def freeze(self, process):
        process.frozen = True
        process.held_up = []

    def thaw(self, process):
        process.frozen = False
        for reply in process.held_up:
            self.answered(process, reply)
        for call in list(process.running):
            if call.started + call.seconds <= self.now:
                process.end(call)
            else:
                self.at(call.started + call.seconds, lambda call=call: process.end(call))
        process.check = math.inf
        process.go_on()
        if process.pending_since < math.inf and process.member._pending is not None:
            request = process.member._pending
            self.at(self.now + 0.01, lambda: self.gave_up(process, request))

    def leave(self, process):
        """The process ends in good order."""
        process.running.clear()
        process.rate_line.clear()
        process.slot_line.clear()
        process.callers = process.jobs = 0
        process.member.lost()
        request = process.member.compose(
            process.clock(), process.demand(), self.chance.randrange(1, 1 << 48), leaving=True
        )
        process.alive = False
        if process.reaches:
            self.at(self.now + self.latency[0], lambda: self.arrived(process, request))

    def wipe(self):
        self.document = None
        self.bringing = True

    # What must hold

    def leased(self):
        return [one for one in self.processes if one.alive and one.clock() < one.member.lease]

    def covered(self):
        """What a process with a running lease may use is counted for it, wherever it is known."""
        if self.document is None:
            return
        for process in self.leased():
            state = self.document.member(process.member.number)
            vouched = process.heard > self.leapt  # else only strangers could, since the store's clock was set
            if state is None:
                if not vouched:
                    self.buried_early()
                elif process.member.memory == self.document.memory:
                    self.wrong.append(f"{self.now:.3f}: a member with a lease was buried")
            elif process.member.memory == self.document.memory:
                cap = process.member.cap(process.clock())
                if max(cap, process.use) > state.allow and not vouched:
                    self.buried_early()
                elif max(cap, process.use) > state.allow:
                    self.wrong.append(f"{self.now:.3f}: may use {cap}, uses {process.use}, counted are {state.allow}")

    def check_document(self, document, before, request, reply):
        held = sum(member.allow for member in document.members)
        me = document.member(request.id)
        unclaimed = document.unclaimed if document.time < document.quiet else 0
        for member in document.members:
            if member is not me and member.allow != before.get(member.id):
                self.wrong.append(f"{self.now:.3f}: another member's number changed")
        had = max(request.keep if request.known.memory else 0, request.use, before.get(request.id, 0))
        if me is not None and me.allow > had:
            slots = 1 if document.brake[11] or untold(document) else int(document.ceiling[0])
            front = sum(member.want[0] for member in document.members)
            turn = document.turn == me.id
            if front >= slots and me.allow > max(me.want[0] + turn, had):
                self.wrong.append(f"{self.now:.3f}: the background grew to {me.allow} while the foreground waits")
            if held + unclaimed > slots:
                self.wrong.append(f"{self.now:.3f}: grew to {held} of {slots}, {unclaimed} unclaimed")
        for place, rate in enumerate(document.rates):
            booked = [entry for entry in reply.box if me is not None and entry[0] == me.boxed]
            if is_total(rate) and rate.what != DOLLARS and booked and reply.verdict != DIFFERENT:
                everything = rate.spent + open_of(document, place)
                if everything > rate.amount * (1 + 1e-6) and not self.bringing:
                    self.wrong.append(f"{self.now:.3f}: {everything} of {rate.amount} spent and booked")
        if reply.verdict != DIFFERENT and len({member.id for member in document.members}) != len(document.members):
            self.wrong.append("a member twice")
        assert all(member.odd <= document.time and member.turn > NEVER for member in document.members)
        self.covered()


def worst_window(starts, per):
    """The largest sum of costs in any half-open window of so many seconds, and when it ends."""
    worst, when, held, total = 0.0, 0.0, deque(), 0.0
    for at, cost in sorted(starts):
        while held and held[0][0] <= at - per:
            total -= held.popleft()[1]
        held.append((at, cost))
        total += cost
        if total > worst:
            worst, when = total, at
    return worst, when
