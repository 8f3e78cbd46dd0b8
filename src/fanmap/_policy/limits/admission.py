"""Who may start now.

Two lines, each strictly first come, first served: one for a slot; then, slot in hand, one for the gate
and the rates. One line alone deadlocks as soon as a lent slot waits for a token behind its lender's
queue. Pure: told `now`, knows no thread, loop or waker; whoever drives it wakes what `poll` returns.

Calls in the background (`kinds`) wait in the same two lines, behind all others. One that has its slot and waits for the
gate or a rate gives the slot to a call in the foreground that has none, and is back in the first line at its old place.

A start that somebody else arranges is an appointment. Where its call enters late, the start is asked for anew, so
that starts are as far apart where they are made as the rates want them; where its owner does not come at all within
`until`, slot and charge go to the next in line, and the owner is passed over until it is heard of again.

    Starts (the gate, the rates) → Lines (who stands where, who has a slot) → Admission (the moves)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

from fanmap._policy.limits.lines import Lines
from fanmap._policy.limits.permit import APPOINTED, RELEASED, RUNNING, SLOTTED, TURNED_AWAY, WAITING, Owner, Permit
from fanmap._policy.limits.rate import Rate

# Seconds after which an owner's first in line looks by itself, as the head's owner may be gone; None: never.
guard: float | None = 0.5


class Admission(Lines):
    """The slots of one Limits, and the two lines: for a slot, and for the start.

    Attributes:
        steady: answers change nothing, and need not be reported.
    """

    __slots__ = ("_appointed", "_numbers", "_owner", "steady")

    def __init__(self, limit: int, rates: Sequence[Rate] = ()) -> None:
        super().__init__(limit, rates)
        self._numbers = count(1)
        self._owner: Owner | None = None  # the first that came
        self._appointed: dict[Permit, None] = {}  # of owners that can block, not taken up yet
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
            if permit.owner.can_block:
                self._appointed[permit] = None
            appointed.append(permit)
            if self.turns is not None and self.turns.started(permit):
                return appointed + self.poll(now, here)  # the next slot is the background's
        if self._unwatched:
            self._remind()
        self._set_quiet(now)
        return appointed

    def take_up(self, permit: Permit, now: float) -> bool:
        """An appointed call is about to be made: may it be? Else it is back in line, and polls.

        A rate counts where calls are made: what was charged for another moment is charged for this one.
        """
        if permit.state != APPOINTED:
            return permit.state == RUNNING
        if self._missed(permit, now):
            self._refund(permit)
            if self._due(permit, now) > now:
                self._back_in_line(permit)
                return False
            self._let_through(permit, now)
        self._appointed.pop(permit, None)
        permit.state = RUNNING
        return True

    def leave(self, permit: Permit) -> None:
        """Out of any line, slot given back; refunded where the call was never made. Idempotent."""
        permit.state = RELEASED
        self._out_of_slot_line(permit)
        self._out_of_rate_line(permit)
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
        self._out_of_slot_line(permit)
        self._out_of_rate_line(permit)
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

    # What a driver looks at

    def patience(self, permit: Permit, now: float) -> float | None:
        """Seconds after which a waiting permit must look again by itself; None: it will be woken.

        Only the head holds a timer; each owner's first looks now and then, in case the head's owner is away or gone.
        """
        if permit.state in (APPOINTED, RUNNING):
            return 0.0
        if permit.state == SLOTTED:
            if self._rate_line.head() is permit:
                start = self._start_time(permit, now)
                return max(0.0, start - now) if start < math.inf else guard  # woken by what is settled, if it ever is
            return guard if self._rate_line.first_of(permit.owner) is permit else None
        return guard if self._slot_line.first_of(permit.owner) is permit else None

    # Inside

    def _missed(self, permit: Permit, now: float) -> bool:
        """Is the moment over that it was appointed for, or is the gate closed?"""
        return self._gate > now or (bool(permit.charges) and now > permit.charges[0].at)

    def _lapse(self, now: float, here: Owner | None) -> None:
        """Appointments that nobody took up are over; their owners are away until they are heard of."""
        owners = {permit.owner for permit in self._appointed if permit.until < now and permit.owner is not here}
        if not owners:
            return
        self._away |= owners
        late = [permit for permit in self._appointed if permit.owner in owners]
        for permit in late:
            self._refund(permit)
        for permit in [*late, *(permit for permit in self._rate_line if permit.owner in owners)]:
            self._back_in_line(permit)

    def _back_in_line(self, permit: Permit) -> None:
        """At its old place; the slot goes to somebody who comes, unless it is borrowed."""
        self._appointed.pop(permit, None)
        if permit.lender is None and permit.owner in self._away:
            self._out_of_rate_line(permit)
            self._holding.discard(permit)
            permit.state = WAITING
            self._slot_line.add(permit)
        elif permit not in self._rate_line:
            permit.state = SLOTTED
            self._rate_line.add(permit)

    def _meet(self, owner: Owner) -> None:
        if self._owner is None:
            self._owner = owner
        else:
            self._mixed = True

    def _remind(self) -> None:
        """An owner's first in a line has left it: the next looks now and then, once others hold slots and may be lost."""
        if not (self._slot_line or self._rate_line):
            self._unwatched.clear()
        for owner in tuple(self._unwatched) if self._mixed else ():
            firsts = [first for line in (self._slot_line, self._rate_line) if (first := line.first_of(owner)) is not None]
            if not firsts:
                self._unwatched.discard(owner)
            elif any(permit.owner is not owner for permit in self._holding):
                self._unwatched.discard(owner)
                self.reminded += firsts

    def _set_quiet(self, now: float = -math.inf) -> None:
        self.quiet = (
            self.steady
            and not self._buckets
            and not self._slot_line
            and not self._rate_line
            and now >= self._gate + self._spread
        )
