"""What one process knows of those it shares a name with, and which of its calls may start by that.

Told its own time only. Starts that are booked for it wait here until they are used, lapse, or go back.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence

from fanmap._policy.shared.demand import Appointment
from fanmap._policy.shared.document import Settings
from fanmap._policy.shared.happenings import Happenings
from fanmap._policy.shared.messages import Request
from fanmap._policy.shared.offset import Offset
from fanmap._policy.shared.purse import Purse
from fanmap._policy.shared.told import is_followed
from fanmap._policy.shared.totals import is_total
from fanmap._policy.shared.wanted import patient


class Standing:
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
        self._replied_sent = self._heard = 0.0  # by this clock; by the document's
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

    # Slots, and the gate

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

    # Booked starts

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

    def charge_late(self, place: int, units: float, now: float) -> None:
        """A call that is settled took so much more of a rate."""
        self.happenings.settled(self.memory, place, self._offset.theirs(now), units, now)

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

    # Whose turn it is

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
