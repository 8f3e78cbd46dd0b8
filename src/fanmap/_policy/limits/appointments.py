"""Starts that somebody else arranged.

Where the call of an appointment enters late, its start is asked for anew, so that starts are as far apart where they
are made as the rates want them; where its owner does not come at all within `until`, slot and charge go to the next in
line, and the owner is passed over until it is heard of again. Pure: told `now`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fanmap._policy.limits.permit import APPOINTED, RUNNING, SLOTTED, WAITING, Owner, Permit
from fanmap._policy.limits.rate import Rate
from fanmap._policy.limits.watching import Watching


class Appointments(Watching):
    """The lines, and the calls that may start and have yet to be made."""

    __slots__ = ("_appointed",)

    def __init__(self, limit: int, rates: Sequence[Rate]) -> None:
        super().__init__(limit, rates)
        self._appointed: dict[Permit, None] = {}  # of owners that can block, not taken up yet

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
            self._out_of_line(permit)
            self._holding.discard(permit)
            permit.state = WAITING
            self._slot_line.add(permit)
        elif permit not in self._rate_line:
            permit.state = SLOTTED
            self._rate_line.add(permit)
