"""Who may start now, where the slots and the rates are not this process's alone.

The two lines and the lending are those of `_policy.limits.admission` and `_policy.limits.lines`. How many slots there
are, how long the gate is closed and which starts are booked, a `Member` knows. A cap of 0 is normal: others have the
slots, or the lease has run out.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from typing_extensions import override

from fanmap._policy.limits import watching
from fanmap._policy.limits.permit import RUNNING, WAITING, Owner, Permit
from fanmap._policy.limits.rate import Grant
from fanmap._policy.limits.total import Total
from fanmap._policy.shared.demand import Appointment
from fanmap._policy.shared.lines import SharedLines


class Booked(Grant):
    """A charge of one rate, by a start that was booked."""

    __slots__ = ("appointment",)

    def __init__(self, at: float, cost: float, appointment: Appointment) -> None:
        super().__init__(at, cost)
        self.appointment = appointment


class SharedAdmission(SharedLines):
    """The slots, the gate and the rates of one shared Limits, as far as one process has them.

    Attributes:
        limit: slots that may be in use here at this moment.
    """

    __slots__ = ()

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
    def _missed(self, permit: Permit, now: float) -> bool:
        self._now = now
        charge = permit.charges[0] if permit.charges else None
        late = isinstance(charge, Booked) and now > charge.appointment.until
        return late or self.member.gate > now or now >= self.member.lease

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
    def charge_late(self, more: Sequence[float], now: float) -> None:
        for place, units in enumerate(more[: self._rates]):
            if units <= 0:  # a ledger never takes back what it was told is spent
                continue
            if place in self.totals:
                self.totals[place].spent += units
            else:
                self.member.charge_late(place, units, now)

    @override
    def close_gate(self, until: float, *, spread: float, apart: float) -> None:
        self.member.shut(until, spread, apart)
        super().close_gate(until, spread=spread, apart=apart)

    def follow(self) -> None:
        """The member has heard something."""
        member = self.member
        self._gate, self._spread, self._apart = member.gate, member.spread, member.apart
        self.epoch, self.steady = member.epoch, member.steady

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
        return watching.guard if seconds == math.inf else seconds

    @override
    def slots(self) -> int:
        return self.member.ceiling

    # Inside

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
            self._out_of_rate_line(permit)
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
