"""Who in line looks by itself now and then, as those before it may be away or gone.

Whoever lets a call in wakes it. But the head of a line may be of an event loop that something blocks, or that is no
more, and then nobody moves the line: so the head has a timer, and the first of each owner in each line looks twice a
second. Pure: told `now`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanmap._policy.limits.lines import Lines
from fanmap._policy.limits.permit import APPOINTED, RUNNING, SLOTTED, Owner, Permit
from fanmap._policy.limits.rate import Rate

# Seconds after which an owner's first in line looks by itself, as the head's owner may be gone; None: never.
guard: float | None = 0.5


class Watching(Lines):
    """The two lines, and who watches them.

    Attributes:
        reminded: who is to look again, as nobody else of its owner's does now and then; whoever drives empties it.
    """

    __slots__ = ("_mixed", "_owner", "reminded")

    def __init__(self, limit: int, rates: Sequence[Rate]) -> None:
        super().__init__(limit, rates)
        self._owner: Owner | None = None  # the first that came
        self._mixed = False  # more than one has come
        self.reminded: list[Permit] = []

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

    def _meet(self, owner: Owner) -> None:
        if self._owner is None:
            self._owner = owner
        else:
            self._mixed = True

    def _out_of_line(self, permit: Permit) -> None:
        """Wherever it stands, if it does. Why it gives up may be true of whoever is its owner's first now."""
        if permit in self._slot_line:
            self._out_of_slot_line(permit)
            if (first := self._slot_line.first_of(permit.owner)) is not None:
                self.reminded.append(first)
        elif permit in self._rate_line:
            self._out_of_rate_line(permit)

    def _remind(self) -> None:
        """An owner's first in a line has left it: the next looks, once others hold slots and may be lost."""
        if not (self._slot_line or self._rate_line):
            self._unwatched.clear()
        for owner in tuple(self._unwatched) if self._mixed else ():
            firsts = [one for line in (self._slot_line, self._rate_line) if (one := line.first_of(owner)) is not None]
            if not firsts:
                self._unwatched.discard(owner)
            elif any(permit.owner is not owner for permit in self._holding):
                self._unwatched.discard(owner)
                self.reminded += [first for first in firsts if first not in self.reminded]
