"""Who may start now.

Two lines, each strictly first come, first served: one for a slot; then, slot in hand, one for the gate
and the rates. One line alone deadlocks as soon as a lent slot waits for a token behind its lender's
queue. Pure: told `now`, knows no thread, loop or waker; whoever drives it wakes what `poll` returns.

Calls in the background (`kinds`) wait in the same two lines, behind all others. One that has its slot and waits for the
gate or a rate gives the slot to a call in the foreground that has none, and is back in the first line at its old place.

    Starts (the gate, the rates) → Lines (who stands where, who has a slot) → Watching (who looks by itself)
        → Appointments (starts that somebody else arranged) → Admission (the moves)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

from fanmap._policy.limits.appointments import Appointments
from fanmap._policy.limits.permit import APPOINTED, RELEASED, RUNNING, SLOTTED, TURNED_AWAY, Owner, Permit
from fanmap._policy.limits.rate import Rate


class Admission(Appointments):
    """The slots of one Limits, and the two lines: for a slot, and for the start.

    Attributes:
        steady: answers change nothing, and need not be reported.
    """

    __slots__ = ("_numbers", "steady")

    def __init__(self, limit: int, rates: Sequence[Rate] = ()) -> None:
        super().__init__(limit, rates)
        self._numbers = count(1)
        self.steady = True

    # What a driver asks for

    def ask(self, permit: Permit) -> None:
        """Join the line; `poll` says when it may run."""
        if permit.owner is not self._owner:
            self._meet(permit.owner)
        if not permit.place:
            permit.place = next(self._numbers)
        if permit.background and self.turns is None:
            self._tell_kinds_apart()
        if permit.parent is not None and self.totals:
            self._inside.add(permit)
        self._wait_for_slot(permit)
        self.quiet = False  # it waits

    def start(self, permit: Permit, now: float) -> bool:
        """Join the line and run at once, where nobody waits and nothing holds; else False, and nothing is changed."""
        if (
            self._slot_line
            or self._rate_line
            or len(self._holding) >= self.limit
            or permit.parent is not None
            or self._start_time(permit, now) > now
        ):
            return False
        if permit.owner is not self._owner:
            self._meet(permit.owner)
        permit.place = next(self._numbers)
        permit.slotted = now
        self._holding.add(permit)
        self._let_through(permit, now)
        permit.state = RUNNING
        return True

    def poll(self, now: float, here: Owner | None = None) -> list[Permit]:
        """Move both lines as far as they go; returns the permits that have an appointment from now on.

        `here` is who asks, and so not away.
        """
        if here is not None and self._away:
            self._away.discard(here)
        if self._appointed:
            self._lapse(now, here)
        if self._lent:
            for borrower in self._lent:
                borrower.slotted = now
            self._lent.clear()
        slot_line, rate_line, holding = self._slot_line, self._rate_line, self._holding
        while slot_line and (len(holding) < self.limit or (self.turns is not None and self._make_room(self.turns))):
            permit = slot_line.head()
            if permit is None:
                break
            self._out_of_slot_line(permit)
            holding.add(permit)
            permit.slotted = now
            permit.state = SLOTTED
            rate_line.add(permit)
        appointed: list[Permit] = []
        while rate_line:
            permit = rate_line.head()
            if permit is None or self._start_time(permit, now) > now:
                break
            self._out_of_rate_line(permit)
            self._let_through(permit, now)
            permit.state = APPOINTED
            permit.until = now + self._grace
            if permit.owner.can_be_blocked:
                self._appointed[permit] = None
            appointed.append(permit)
            if self.turns is not None and self.turns.started(permit):
                return appointed + self.poll(now, here)  # the next slot is the background's
        if self._unwatched:
            self._remind()
        self._set_quiet(now)
        return appointed

    def leave(self, permit: Permit) -> None:
        """Out of any line, slot given back; refunded where the call was never made. Idempotent."""
        permit.state = RELEASED
        if self._slot_line or self._rate_line:
            self._out_of_line(permit)
        self._appointed.pop(permit, None)
        if self._inside:
            self._inside.discard(permit)
        if permit in self._holding:
            self._holding.discard(permit)
            if permit.lender is not None:
                self._give_back(permit.lender)
                permit.lender = None
        elif permit.lent_to is not None:
            # The lender ends before its nested call: the slot stays with the one that runs on it.
            heir, lender = permit.lent_to, permit.lender
            permit.lent_to = permit.lender = None
            heir.lender = lender
            if lender is not None:
                lender.lent_to = heir
        if permit.charges:
            self.settle(permit, None)
        if permit.children:
            for child in permit.children:
                child.parent = None
        permit.children = None
        self._set_quiet()

    def renew(self, permit: Permit, costs: Sequence[float] | None, now: float) -> bool:
        """The next call of the same worker: on the slot that it has, where nobody waits and its rates have enough.

        Else it is released, and asks anew, behind all who wait. What it was charged has been settled.
        """
        if (
            permit.state == RUNNING
            and permit in self._holding
            and len(self._holding) <= self.limit
            and ((not self._slot_line and not self._rate_line) or self._goes_before_all(permit))
        ):
            permit.costs, permit.slotted = costs, now
            if self._may_start(permit, now):
                self._let_through(permit, now)
                if self.turns is not None:
                    self.turns.started(permit)
                return True
        self.leave(permit)
        return False

    def admit_over_limit(self, permit: Permit, now: float) -> None:
        """It runs, whatever the limits say: out of any line, and from now on it counts, and is charged."""
        if permit.state in (RELEASED, TURNED_AWAY):
            return
        self._out_of_line(permit)
        self._appointed.pop(permit, None)
        permit.state = RUNNING
        if permit not in self._holding:
            permit.slotted = now
            self._holding.add(permit)
        if not permit.charges:
            self._let_through(permit, now)
        self._set_quiet()

    def charge_anew(self, permit: Permit, costs: Sequence[float]) -> bool:
        """Another call goes on with this one's slot, at its own costs; False: at what was charged already.

        What was charged is taken back, as if it had never started, and with the slot in hand it waits in the second
        line for its own: to add the difference to the charge would start as many calls as there are slots within one
        window, whatever they cost.
        """
        if all(charge.cost == cost for charge, cost in zip(permit.charges, costs, strict=True)):
            return False
        permit.started = False
        self._refund(permit)
        permit.costs = costs
        permit.place = next(self._numbers)
        permit.state = SLOTTED
        if permit.background and self.turns is None:
            self._tell_kinds_apart()
        self._rate_line.add(permit)
        return True

    def turn_away(self, permit: Permit) -> None:
        """Out of a line that was full when it came."""
        self.leave(permit)
        permit.state = TURNED_AWAY

    def sweep(self) -> None:
        """Whoever is gone leaves: calls of a closed event loop will never say that they have ended."""
        gone = [permit for permit in self._holding if permit.owner.gone()]
        gone += [permit for line in (self._slot_line, self._rate_line) for permit in line if permit.owner.gone()]
        for permit in gone:
            lenders: list[Permit] = []
            lender = permit.lender
            while lender is not None:  # a call that lent its slot is not in the set
                lenders.append(lender)
                lender = lender.lender
            self.leave(permit)
            for one in lenders:
                if one.owner.gone():
                    self.leave(one)

    # Inside

    def _set_quiet(self, now: float = -math.inf) -> None:
        self.quiet = (
            self.steady
            and not self._buckets
            and not self._slot_line
            and not self._rate_line
            and now >= self._gate + self._spread
        )
