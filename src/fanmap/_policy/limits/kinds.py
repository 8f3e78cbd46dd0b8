"""Two kinds of call under one Limits: the foreground, and the background, which goes when nobody else waits.

First come, first served holds within each. So that the background does not starve under a foreground that never ends,
one start in `EVERY` is its own: once so many of the foreground have gone before it, its first goes before all others,
and takes the slot of the last of them where none is free. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from typing_extensions import override

from fanmap._policy.limits.line import Line
from fanmap._policy.limits.permit import Owner, Permit

EVERY: Final = 50


class Turns:
    """Whose turn it is.

    Args:
        away: owners to pass over.

    Attributes:
        for_slot, for_start: the background's calls in the first line, and in the second.
    """

    __slots__ = ("_passed", "for_slot", "for_start")

    def __init__(self, away: Collection[Owner]) -> None:
        self.for_slot = Line(away)
        self.for_start = Line(away)
        self._passed = 0  # starts of the foreground, since the background's last, while that waited

    def started(self, permit: Permit) -> bool:
        """A call has been let through; True: from now on it is the background's turn, which has no slot for it yet."""
        if permit.background:
            self._passed = 0
        elif self.for_slot or self.for_start:
            self._passed += 1
            return self._passed == EVERY - 1 and not self.for_start
        return False

    def due(self) -> bool:
        """Is the next start the background's?"""
        return self._passed >= EVERY - 1

    def keeps_slot(self) -> bool:
        """Does the first of the background that waits for a start keep its slot, whoever waits for one?"""
        return self.due()

    def due_for_slot(self) -> bool:
        """Is the next slot the background's? Not where one that has its slot waits for that start."""
        return self._passed >= EVERY - 1 and not self.for_start


class SlotLine(Line):
    """The first line, of both kinds.

    Args:
        away: owners to pass over.
        turns: whose turn it is.
        permits: who stands in it already.
    """

    __slots__ = ("_background", "_turns")

    def __init__(self, away: Collection[Owner], turns: Turns, permits: Collection[Permit]) -> None:
        super().__init__(away)
        self._turns = turns
        self._background = self._behind(turns)
        for permit in permits:
            self.add(permit)

    def _behind(self, turns: Turns) -> Line:
        return turns.for_slot

    def _background_first(self) -> bool:
        return self._turns.due_for_slot()

    @override
    def add(self, permit: Permit) -> None:
        if permit.background:
            self[permit] = None
            self._background.add(permit)
        else:
            super().add(permit)

    @override
    def remove(self, permit: Permit) -> bool:
        if permit.background:
            self._background.remove(permit)
        return super().remove(permit)

    @override
    def first_of(self, owner: Owner) -> Permit | None:
        return self._first(owner) or self._background.first_of(owner)

    @override
    def head(self) -> Permit | None:
        if self._background_first():
            return self._background.head() or super().head()
        return super().head() or self._background.head()

    def foreground(self) -> int:
        """How many in the foreground wait."""
        return len(self) - len(self._background)


class StartLine(SlotLine):
    """The second line, of both kinds."""

    __slots__ = ()

    @override
    def _behind(self, turns: Turns) -> Line:
        return turns.for_start

    @override
    def _background_first(self) -> bool:
        return self._turns.due()
