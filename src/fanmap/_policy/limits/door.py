"""A line with an end: who is let in, and how long it takes until there is room for one more.

Let in is a run, or a call of its own, once: with its first call. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_LAST: Final = 50  # calls whose durations count for about as much as all before them


class Door:
    """The way in of one run, or of one call of its own.

    Attributes:
        let_in: its first call was; the others are not asked.
        turned_away: its first call was, and so is whatever else it has begun.
    """

    __slots__ = ("let_in", "turned_away")

    def __init__(self) -> None:
        self.let_in = self.turned_away = False


class Pace:
    """How long calls keep their slots: the mean, of which the last ones count most."""

    __slots__ = ("_calls", "_mean")

    def __init__(self) -> None:
        self._calls = 0
        self._mean = 0.0

    def took(self, seconds: float) -> None:
        """A call has ended after so many seconds."""
        self._calls = min(self._calls + 1, _LAST)
        self._mean += (seconds - self._mean) / self._calls

    def one_place(self, slots: int, ages: Sequence[float]) -> float:
        """Seconds between two calls that end, of as many as there are slots.

        `ages`: for how long those have run that are under way; asked where none has ended yet.
        """
        mean = self._mean if self._calls else sum(ages) / max(1, len(ages))
        return mean / max(1, slots)
