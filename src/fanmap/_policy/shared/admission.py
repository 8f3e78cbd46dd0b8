"""Who may start now, where the slots and the rates are not this process's alone.

The two lines and the lending are those of `_policy.admission` and `_policy.lines`. How many slots there are, how long
the gate is closed and which starts are booked, a `Member` knows. A cap of 0 is normal: others have the slots, or the
lease has run out.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import cast

from typing_extensions import override

from fanmap._policy import admission
from fanmap._policy.admission import Admission
from fanmap._policy.kinds import Turns
from fanmap._policy.lines import stays
from fanmap._policy.money import is_dollars, only_counts
from fanmap._policy.permit import APPOINTED, RUNNING, WAITING, Owner, Permit
from fanmap._policy.rate import Grant, Rate
from fanmap._policy.shared.demand import Appointment, Demand
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.total import SharedTotal
from fanmap._policy.total import Total


class Booked(Grant):
    """A charge of one rate, by a start that was booked."""

    __slots__ = ("appointment",)

    def __init__(self, at: float, cost: float, appointment: Appointment) -> None:
        super().__init__(at, cost)
        self.appointment = appointment


class SharedTurns(Turns):
    """Whose turn it is: what the ledger says, which counts the starts of all processes."""

    __slots__ = ("_member",)

    def __init__(self, away: Collection[Owner], member: Member) -> None:
        super().__init__(away)
        self._member = member

    @override
    def started(self, permit: Permit) -> bool:
        return False  # the member counts

    @override
    def due(self) -> bool:
        return self._member.next_is_background()

    @override
    def keeps_slot(self) -> bool:
        return self._member.background_is_due()

    @override
    def due_for_slot(self) -> bool:
        return self._member.background_is_due() and not self.for_start


class SharedAdmission(Admission):
    """The slots, the gate and the rates of one shared Limits, as far as one process has them.

    Args:
        member: see below.
        rates: of this process: those that the member's settings have, and perhaps dollars that are only counted.

    Attributes:
        limit: slots that may be in use here at this moment.
        member: what is known of the others.
    """

    __slots__ = ("_dollars", "_now", "_only_counts", "_rates", "member")

    def __init__(self, member: Member, rates: Sequence[Rate] = ()) -> None:
        super().__init__(0)
        self.member = member
        self.quiet = False
        self._rates = len(member.settings.rates)
        self._only_counts = bool(rates) and only_counts(rates[-1])
        self._dollars = next((place for place, rate in enumerate(rates[: self._rates]) if is_dollars(rate)), None)
        if member.purse is not None:
            totals = {place: SharedTotal(rates[place], member.purse, place) for place in member.purse.places}
            self.totals = cast("dict[int, Total]", totals)
        self._now = 0.0  # as it was told last

    # What a driver asks for

    @override
    def start(self, permit: Permit, now: float) -> bool:
        self._look(now)
        return super().start(permit, now)

    @override
    def poll(self, now: float, here: Owner | None = None) -> list[Permit]:
        self._look(now)
        if self.member.pressed and len(self._holding) > self.limit:
            self._yield(now)
        return super().poll(now, here)

    @override
    def take_up(self, permit: Permit, now: float) -> bool:
        if permit.state != APPOINTED:
            return permit.state == RUNNING
        self._now = now
        charge = permit.charges[0] if permit.charges else None
        lapsed = isinstance(charge, Booked) and now > charge.appointment.until
        if lapsed or self.member.gate > now or now >= self.member.lease:
            self._refund(permit)
            if self._due(permit, now) > now:
                self._back_in_line(permit)
                return False
            self._let_through(permit, now)
        self._appointed.pop(permit, None)
        permit.state = RUNNING
        return True

    @override
    def renew(self, permit: Permit, costs: Sequence[float] | None, now: float) -> bool:
        self._look(now)
        return super().renew(permit, costs, now)

    @override
    def settle(self, permit: Permit, actual: Sequence[float | None] | None) -> None:
        charges = permit.charges
        permit.charges = ()
        first = charges[0] if charges else None
        if not isinstance(first, Booked):
            return
        if not permit.started and (actual is None or all(took is None for took in actual)):
            self.member.unused(first.appointment, self._now, lapsed=False)
            return
        took = [
            charge.cost if actual is None or (said := actual[place]) is None else said
            for place, charge in enumerate(charges[: self._rates])
        ]
        self.member.settle(first.appointment, took, self._now)

    @override
    def close_gate(self, until: float, *, spread: float, apart: float) -> None:
        self.member.shut(until, spread, apart)
        super().close_gate(until, spread=spread, apart=apart)

    def follow(self) -> None:
        """The member has heard something."""
        member = self.member
        self._gate, self._spread, self._apart = member.gate, member.spread, member.apart
        self.epoch, self.steady = member.epoch, member.steady

    # What the others are told

    def needs(self, now: float) -> tuple[int, tuple[int, int], tuple[int, int]]:
        """Slots in use; of each kind those that could be used, and calls that wait for a start and have none booked."""
        use, turns = len(self._holding), self.turns
        starts = self._starts(now) if self._rates else (0, 0)
        if self.totals and any(starts):
            front, back = self._asks(now)
            starts = len(front), len(back)
        if turns is None:
            return use, (use + len(self._slot_line), 0), starts
        behind = len(turns.for_slot) + sum(permit.background for permit in self._holding)
        return use, (use + len(self._slot_line) - behind, behind), starts

    def _starts(self, now: float) -> tuple[int, int]:
        """How many of each kind wait for a start and have none booked."""
        booked, turns = self.member.booked(now), self.turns
        waiting = max(0, len(self._rate_line) - booked)
        if turns is None:
            return waiting, 0
        if booked and turns.for_start and turns.due():
            booked -= 1  # it is the background's
        front = max(0, len(self._rate_line) - len(turns.for_start) - booked)
        return front, waiting - front

    def demand(self, now: float) -> Demand:
        """The same, with what each of them costs."""
        use, want, starts = self.needs(now)
        settling = bool(self.totals) and (super()._settling() or self.member.booked(now) > 0)
        behind = self.turns is not None and self._behind(self.turns, starts[1])
        return Demand(use, want, self._asks(now) if any(starts) else ((), ()), settling, behind)

    def _behind(self, turns: Turns, starts: int) -> bool:
        """Does one of the background wait?"""
        return bool(turns.for_slot) or (starts > 0 if self._rates else bool(turns.for_start))

    def _asks(self, now: float) -> tuple[list[Sequence[float]], list[Sequence[float]]]:
        """The costs of each that waits for a start and has none, but for those for which nothing is left."""
        asks: tuple[list[Sequence[float]], list[Sequence[float]]] = [], []
        for permit in self._in_turn(self.turns is not None and self.turns.due())[self.member.booked(now) :]:
            costs = self._costs(permit)
            if not any(total.beyond(costs[place]) for place, total in self.totals.items()):
                asks[permit.background].append(costs)
        return asks

    def _in_turn(self, background_first: bool) -> list[Permit]:
        """Those who have their slots and wait, in the order in which they will start."""
        line = sorted(self._rate_line, key=_place)
        turns = self.turns
        if turns is not None:
            line.sort(key=_background)
            first = turns.for_start.head() if background_first else None
            if first is not None:
                line.remove(first)
                line.insert(0, first)
        return line

    # What a driver looks at

    @override
    def beyond(self, permit: Permit) -> Total | None:
        if not self.totals:
            return None
        costs, member = self._costs(permit), self.member
        nobody_settles = (
            member.purse is not None and member.purse.stuck and not member.booked(self._now) and not super()._settling()
        )
        for place, total in self.totals.items():
            if total.beyond(costs[place]) or (nobody_settles and total.earliest(0.0, costs[place]) == math.inf):
                return total
        return None

    @override
    def charge_anew(self, permit: Permit, costs: Sequence[float]) -> bool:
        if self._dollars is not None and permit.charges:
            costs = list(costs)
            costs[self._dollars] = permit.charges[self._dollars].cost  # they are what the ledger says
        return super().charge_anew(permit, costs)

    @override
    def patience(self, permit: Permit, now: float) -> float | None:
        seconds = super().patience(permit, now)
        return admission.guard if seconds == math.inf else seconds

    @override
    def waiting_for_slot(self) -> int:
        """As of one process, less those for whom slots are free that have yet to be asked for; may be below 0."""
        return super().waiting_for_slot() - max(0, self.member.ceiling - self.member.elsewhere - len(self._holding))

    @override
    def held_only_by(self, owner: Owner, lender: Permit | None = None) -> bool:
        holding, ceiling = self._holding, self.member.ceiling
        return (
            len(holding) >= ceiling > 0
            and lender not in holding
            and all(permit.owner is owner and stays(permit) for permit in holding)
        )

    # Inside

    @override
    def _new_turns(self) -> Turns:
        return SharedTurns(self._away, self.member)

    def _look(self, now: float) -> None:
        self._now = now
        self.limit = self.member.cap(now)
        self.member.saw(now, len(self._holding) + len(self._slot_line))

    def _yield(self, now: float) -> None:
        """Whoever waits for a start that is not booked does not keep a slot that others wait for."""
        booked = 0 if self.member.over else self.member.booked(now)
        kept = self.turns is not None and self.turns.keeps_slot()
        waiting = [permit for permit in self._in_turn(kept) if permit.lender is None]
        for permit in reversed(waiting[booked:]):
            if len(self._holding) <= self.limit:
                return
            self._rate_line.remove(permit)
            self._holding.discard(permit)
            permit.state = WAITING
            self._slot_line.add(permit)
            parent = permit.parent
            if parent is not None and parent.state == RUNNING:
                if parent.children is None:
                    parent.children = OrderedDict()
                parent.children[permit] = None

    @override
    def _start_time(self, permit: Permit, now: float) -> float:
        return self._due(permit, now)

    @override
    def _may_start(self, permit: Permit, now: float) -> bool:
        return self._due(permit, now) <= now

    @override
    def _due(self, permit: Permit, now: float) -> float:
        member = self.member
        # Who runs on the slot of a call under way is one of those that are counted: else all might wait for all.
        if now >= member.lease or (member.over and permit.lender is None):
            return math.inf
        if self.totals and any(total.closed for total in self.totals.values()):
            return math.inf
        at = member.opens(now, self._last_start)
        return max(at, member.earliest(now, self._costs(permit))) if self._rates else at

    @override
    def _let_through(self, permit: Permit, now: float) -> None:
        member = self.member
        permit.crowd = member.elsewhere + len(self._holding)
        permit.ceiling, permit.epoch = member.ceiling, member.epoch
        self._last_start = now
        member.started(background=permit.background)
        if self._rates:
            # Without a booking it was let out of its line, whatever the limits say.
            appointment = member.begin() if member.booked(now) else member.overdraw(self._costs(permit), now)
            costs = self._costs(permit) if member.purse is None else appointment.costs
            permit.charges = [Booked(now, cost, appointment) for cost in costs]
        if self._only_counts:
            permit.charges = [*permit.charges, Grant(now, 0.0)]

    @override
    def _refund(self, permit: Permit) -> None:
        first = permit.charges[0] if permit.charges else None
        permit.charges = ()
        if isinstance(first, Booked):
            late = self._now > first.appointment.until
            self.member.unused(first.appointment, self._now, lapsed=late)

    @override
    def _set_quiet(self, now: float = -math.inf) -> None:
        """A worker asks before each call: its slot may be wanted elsewhere, or the lease may have run out."""

    def _costs(self, permit: Permit) -> Sequence[float]:
        if self._dollars is None:
            if permit.costs is None:
                return (1.0,) * self._rates
            return permit.costs[: self._rates] if self._only_counts else permit.costs
        costs = [1.0] * self._rates if permit.costs is None else list(permit.costs)
        costs[self._dollars] = 0.0  # the ledger knows better
        return costs


def _place(permit: Permit) -> int:
    return permit.place


def _background(permit: Permit) -> bool:
    return permit.background
