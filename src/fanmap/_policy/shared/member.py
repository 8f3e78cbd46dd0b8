"""One process under a shared name: what of its calls may start, what it says, and what it makes of a reply.

Told its own time only; what the store's clock says is turned into it at each reply, never earlier than it is. One
request is under way at a time, and whatever becomes of it, the process goes by the less of what it had and what it
said that it will keep: that alone makes the sum safe where replies are lost.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

from fanmap._policy.shared.demand import Appointment, Demand, runs
from fanmap._policy.shared.document import HORIZON, NEVER, TURN, Settings
from fanmap._policy.shared.happenings import BATCH_SECONDS, Happenings
from fanmap._policy.shared.messages import DIFFERENT, REFUSED, STALE, Known, Reply, Request
from fanmap._policy.shared.offset import Offset
from fanmap._policy.shared.purse import Purse
from fanmap._policy.shared.told import is_followed
from fanmap._policy.shared.totals import is_total
from fanmap._policy.shared.wanted import patient

LEASE_USED: Final = 0.95  # of a lease, counted from before it was asked for: its clock may go a little faster than ours
IDLE_SECONDS: Final = 0.2  # that slots are kept which nobody here uses and nobody else wants
_HAIR: Final = 0.001  # seconds for what they drift apart between a booking and its start


class Member:
    """What one process knows of the others.

    Attributes:
        number: its id, random. settings: what it wants. ttl: seconds of its lease.
        wake: where to wake it, as the store knows it.
        happenings: what it has to tell; see there.
        allow, target, pressed, over, scarce, ceiling, maximum, epoch, steady, outage, elsewhere, waiting, members,
            rank: as in the last `Reply`.
        failures, answers, refusals, locked_out: as there.
        since, failing, spent, gate: as there, by this process's clock; None and -inf: never.
        spread, apart: as there.
        amounts: of each rate, what holds: amount and burst.
        purse: what it has booked and settled of totals; None: there are none.
        different: the rates that the others have, where they are not these; None: they are.
        turn: its background has a slot before its foreground, and, where no starts are booked, the next start.
        untold: nobody was told the server's limits yet.
        limits: those that are known: [place, unit, amount, window] of each.
        lease: until when it may go by what it was told.
    """

    def __init__(self, number: int, settings: Settings, ttl: float, wake: int = 0) -> None:
        self.number = number
        self.settings = settings
        self.ttl = ttl
        self.wake = wake
        self.happenings = Happenings()
        self.memory = 0
        self.allow = self.target = 0
        self.pressed = self.over = self.scarce = self.outage = False
        self.steady = True
        self.ceiling = settings.start
        self.maximum = settings.maximum
        self.epoch = self.elsewhere = self.waiting = self.rank = 0
        self.members = 1
        self.failures = self.answers = self.refusals = 0
        self.locked_out = False
        self.since: float | None = None
        self.failing: float | None = None
        self.spent: float | None = None
        self.gate = -math.inf
        self.spread = self.apart = 0.0
        self.amounts: Sequence[Sequence[float]] = [(rate.amount, rate.burst) for rate in settings.rates]
        self.different: Sequence[Sequence[float]] | None = None
        self.turn = False
        self.untold = any(map(is_followed, settings.rates))
        self.limits: Sequence[tuple[int, int, float, float]] = ()
        self.lease = -math.inf
        self.purse = Purse(settings) if any(map(is_total, settings.rates)) else None
        self._wanted = settings
        self._box: deque[Appointment] = deque()
        self._turns_booked = 0  # of those, for the background before the foreground
        self._got = 0  # number of the last appointment that arrived
        self._serial = self._replied = 0
        self._replied_sent = 0.0
        self._pending: Request | None = None
        self._sent = 0.0
        self._offset = Offset()
        self._borne = sys.maxsize  # calls here that the server was seen to bear, until a refusal is heard of
        self._known: list[tuple[float, float]] = []  # of each rate: tat by this clock, and the largest cost
        self._said = (0, 0)  # slots that the others know it could use
        self._starts = [0, 0]  # since it is there, in the foreground and in the background
        self._told_starts = (0, 0)
        self._before_telling = 0
        self._turn_taken = False
        self._asked: Sequence[int] = (0, 0)
        self._again = -math.inf
        self._poked = False
        self._peaks = (0, 0)  # slots that could be used, at most, in the last stretch of time and in this one
        self._stretch = -math.inf

    @property
    def limit(self) -> int:
        """Calls of all processes at once."""
        return self.ceiling

    # What may start

    def cap(self, now: float) -> int:
        """Slots that may be in use; a call may start while fewer are."""
        if not self.may_start(now):
            return 0
        cap = min(self.allow, self._borne)
        if self.pressed:
            cap = min(cap, self.target)
        return cap if self._pending is None else min(cap, self._pending.keep)

    def may_start(self, now: float) -> bool:
        """May a call start that has its slot? Not without a lease, nor while more are under way than there may be."""
        return now < self.lease and not self.over

    def opens(self, now: float, last: float) -> float:
        """When the gate lets a call start, and its spread, if the last one here started then.

        Every process spreads its own starts, each a little later than the one before it among the members. Booked
        starts are spread as they are booked.
        """
        at = max(now, self.gate)
        if self.settings.rates or at >= self.gate + self.spread:
            return at
        step = min(self.spread / max(1, min(self.allow, self.target)), self.apart * self.members)
        first = self.gate + step * self.rank / self.members
        return max(at, first if last < self.gate else last + step)

    def earliest(self, now: float, costs: Sequence[float]) -> float:
        """When the first one in line may start; inf: no start is booked for it yet.

        A booked start that has lapsed, or that does not cover these costs, goes back.
        """
        box = self._box
        while self.booked(now):
            if box[0].covers(costs):
                return max(now, box[0].start)
            self.unused(self.begin(), now, lapsed=False)
        return math.inf

    def begin(self) -> Appointment:
        """Take the start that `earliest` told of."""
        appointment = self._box.popleft()
        self._turns_booked -= appointment.turn
        return appointment

    def booked(self, now: float) -> int:
        """Starts that are booked for calls here, and have not lapsed."""
        box = self._box
        while box and box[0].until < max(now, self.gate):
            self.unused(self.begin(), now, lapsed=True)
        return len(box)

    def unused(self, appointment: Appointment, now: float, *, lapsed: bool) -> None:
        """Nothing has started then and nothing will."""
        if self.purse is not None:
            self.purse.give_back(appointment.costs)
        self.happenings.unused(appointment.memory, appointment.booked, appointment.costs, now, lapsed=lapsed)

    def settle(self, appointment: Appointment, actual: Sequence[float], now: float) -> None:
        """What started then took so much in fact."""
        if self.purse is not None:
            self.purse.settle(appointment.costs, actual, now)
        for place, (took, booked) in enumerate(zip(actual, appointment.costs, strict=True)):
            if took != booked and not is_total(self.settings.rates[place]):
                self.happenings.settled(appointment.memory, place, appointment.booked, took - booked, now)

    def started(self, *, background: bool) -> None:
        """A call of this kind starts."""
        self._starts[background] += 1
        if background and self.turn:
            self.turn, self._turn_taken = False, True

    def background_is_due(self) -> bool:
        """Has the background here the turn, so that one of its calls is to have a slot, whoever waits for one?"""
        return self.turn or self._turns_booked > 0

    def next_is_background(self) -> bool:
        """Is the next start here the background's, whoever waits?"""
        if self.settings.rates:
            return bool(self._box) and self._box[0].turn
        return self.turn

    def overdraw(self, costs: Sequence[float], now: float) -> Appointment:
        """A call starts without having been booked: what it costs is charged all the same."""
        if self.purse is not None:
            costs = self.purse.charged(costs)
            self.purse.book(costs)
        start = self._offset.theirs(now)
        for place, cost in enumerate(costs):
            if not is_total(self.settings.rates[place]):
                self.happenings.settled(self.memory, place, start, cost, now)
        return Appointment(now, now, costs, start, self.memory)

    def shut(self, until: float, spread: float, apart: float) -> None:
        """A refusal of a call here: nothing starts before, here at once and elsewhere when it is heard of."""
        self.gate = max(self.gate, until)
        self.spread, self.apart = spread, apart

    def refused(self, besides: int) -> None:
        """The server refused a call here with so many besides: until the others know, it is asked for no more."""
        self._borne = min(self._borne, besides)

    def want_less(self, settings: Settings) -> None:
        """This process wants other numbers, of the same rates."""
        self._wanted = settings
        self.settings = patient(settings, self._offset.error)

    # What is said, and when

    def saw(self, now: float, want: int) -> None:
        """So many slots could be used at this moment."""
        if now >= self._stretch:
            before = self._peaks[1] if now < self._stretch + IDLE_SECONDS else 0
            self._peaks = before, want
            self._stretch = now + IDLE_SECONDS
        elif want > self._peaks[1]:
            self._peaks = self._peaks[0], want

    def poke(self) -> None:
        """Somebody says that there is something to hear."""
        self._poked = True

    def due(self, now: float, use: int, wants: Sequence[int], starts: Sequence[int]) -> float:
        """When to exchange next; `now` or earlier: at once. Not while a request is under way.

        Args:
            use: slots in use. wants: slots that could be used, those among them, in the foreground and in the
                background.
            starts: calls that wait for a start and have none, in the foreground and in the background.
        """
        want = sum(wants)
        self.saw(now, want)
        if self._poked or self._turn_taken or (want and now >= self.lease):
            return now
        front, said_front = wants[0], self._said[0]
        if want > self.allow and (want > sum(self._said) or front > said_front):
            return now
        if self.scarce and wants[1] and front < min(said_front, self.allow):
            return now  # only the background here uses what is the foreground's elsewhere
        if self._before_telling and self._starts[0] - self._told_starts[0] >= self._before_telling:
            return now
        at = min(self._again, self.happenings.due())
        if self.purse is not None:
            at = min(at, self.purse.owes_since + (0.0 if self.purse.tight else BATCH_SECONDS))
        for waiting, asked in zip(starts, self._asked, strict=True):
            # Starts are booked for those that are known first, so a few more need not be told of at once.
            if waiting > asked and waiting >= 2 * asked:
                at = min(at, self.gate - HORIZON)
        if self._keep(now, use, want) < self.allow:
            at = now if self.pressed or self.scarce else min(at, self._sent + IDLE_SECONDS)
        return at

    def compose(self, now: float, demand: Demand, fresh: int, *, leaving: bool = False) -> Request:
        """The request to send at this moment; `take` its reply, or say that it is `lost`."""
        self._serial += 1
        self._poked = False
        self._turn_taken = False
        self._said = demand.want
        self._told_starts = self._starts[0], self._starts[1]
        want = sum(demand.want)
        self.saw(now, want)
        purse = self.purse
        if leaving:
            while self._box:  # nothing will start
                self.unused(self.begin(), now, lapsed=False)
        rates: list[Sequence[float]] = [(tat - now, most) for tat, most in self._known]
        if purse is not None:
            for place in purse.places:
                rates[place : place + 1] = [purse.known(place)] if rates else []
        era = 0 if purse is None else purse.era
        known = Known(self.memory, max(NEVER, self.gate - now), self.ceiling, self.epoch, rates, era)
        self._sent = now
        self._pending = Request(
            self.number,
            self._serial,
            self.settings,
            self.ttl,
            replied=self._replied,
            age=now - self._replied_sent,
            rest=self._offset.surely(now),
            leaving=leaving,
            use=demand.use,
            want=demand.want,
            keep=self._keep(now, demand.use, want),
            got=self._got,
            asks=[runs(asks) if now >= self.gate - HORIZON else [] for asks in demand.asks],
            events=self.happenings.told(now),
            known=known if self.memory else Known(),
            wake=self.wake,
            fresh=fresh,
            starts=self._told_starts,
            behind=demand.behind,
            **({} if purse is None else purse.said(settling=demand.settling)),
        )
        return self._pending

    def _keep(self, now: float, use: int, want: int) -> int:
        """Slots that may be in use whatever happens: no more than now, and never fewer than there are."""
        if now >= self.lease:
            return use
        keep = min(self.allow, self.target) if self.pressed else self.allow
        return max(use, min(keep, want if self.scarce else max(self._peaks)))

    # What is heard

    def lost(self) -> None:
        """The reply will not come, or is not waited for any longer."""
        if self._pending is not None:
            self.allow = min(self.allow, self._pending.keep)
            self._pending = None
            if self.purse is not None:
                self.purse.lost()

    def take(self, reply: Reply, now: float) -> bool:
        """Take the reply that came at this moment; False: it was not the one that is waited for."""
        request = self._pending
        if request is None or reply.serial != request.serial or reply.verdict == STALE:
            return False
        self._pending = None
        if reply.verdict == DIFFERENT:
            self.different = reply.rates
            self.lease = -math.inf
            return True
        self.different = None
        self._offset.learn(reply.now, self._sent, now, anew=reply.memory != self.memory)
        self.settings = patient(self._wanted, self._offset.error)
        mine = self._offset.mine
        self.lease = self._sent + LEASE_USED * self.ttl
        self._replied, self._replied_sent = request.serial, self._sent
        self._again = now + reply.again
        self._asked = reply.asked
        self.happenings.taken(reply.told)
        if not self.happenings.is_telling(REFUSED):
            self._borne = sys.maxsize
        self.memory = reply.memory
        self.allow, self.target = reply.allow, reply.target
        self.pressed, self.over, self.scarce = reply.pressed, reply.over, reply.scarce
        started = self._starts[1] > request.starts[1]  # meanwhile
        self.turn, self._turn_taken = reply.turn and not started, reply.turn and started
        self._before_telling = reply.before_telling
        self.ceiling, self.maximum, self.epoch = reply.ceiling, reply.maximum, reply.epoch
        self.steady, self.outage = reply.steady, reply.outage
        self.elsewhere, self.waiting = reply.elsewhere, reply.waiting
        self.members, self.rank = reply.members, reply.rank
        self.since = None if reply.since == NEVER else mine(reply.since)
        self.failing = None if reply.failing == NEVER else mine(reply.failing)
        self.failures, self.answers, self.refusals = reply.failures, reply.answers, reply.refusals
        self.locked_out = reply.locked_out
        self.spent = None if reply.spent == NEVER else mine(reply.spent)
        if reply.gate > NEVER and mine(reply.gate) >= self.gate:
            self.shut(mine(reply.gate), reply.spread, reply.apart)
        self._known = [(mine(row[0]), row[1]) for row in reply.rates]
        self.amounts = [(row[2], row[3]) for row in reply.rates]
        self.untold = reply.untold
        self.limits = [
            (place, int(row[5]), row[2], row[4])
            for place, row in enumerate(reply.rates)
            if is_followed(self.settings.rates[place]) and row[5]
        ]
        patience = min((rate.late for rate in request.settings.rates), default=0.0) - self._offset.error - _HAIR
        for number, kind, start, *costs in reply.box:
            if number > self._got:
                self._got = int(number)
                at = mine(start)
                if self.purse is not None:
                    self.purse.book(costs)
                self._turns_booked += kind == TURN
                self._box.append(Appointment(at, at + patience, costs, start, reply.memory, turn=kind == TURN))
        if self.purse is not None:
            self.purse.heard(request, reply)
        return True
