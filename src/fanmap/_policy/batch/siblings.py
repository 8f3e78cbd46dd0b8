"""Of an item that asks side by side: have all who are going to ask done so? Pure: told the time.

The first to unwind may cancel the others: the threads of a pool that have not begun, the tasks of a TaskGroup. A
question that is then missing would be asked in a later turn, of some hours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

STILL: Final = 0.05  # seconds without a further question (a new client of openai's asks a thread first)
QUIET: Final = 10  # turns of a loop without one: all that has to pass where no other task of the item can be
PATIENCE: Final = 5.0  # seconds for who has asked in an earlier turn and is late, as on a busy machine


class Patience:
    """How long those are waited for who have asked in an earlier turn.

    Attributes:
        seconds: less after each item that turned out to ask something else.
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = PATIENCE

    def in_vain(self) -> None:
        """An item was waited for, and has asked something else."""
        self.seconds /= 2


class Siblings:
    """One that has asked and would unwind.

    Args:
        patience: of its job.
        turns: that have to pass without a further question.
        alone: no others can be on their way.
    """

    __slots__ = ("_alone", "_asked", "_patience", "_quiet", "_since", "_turns")

    def __init__(self, patience: Patience, *, turns: int = 0, alone: bool = False) -> None:
        self._patience = patience
        self._turns = turns
        self._alone = alone
        self._asked = -1
        self._quiet = 0
        self._since = 0.0

    def have_asked(self, asked: int, now: float, missing: Callable[[], object]) -> bool:
        """Are there no more to come?

        Args:
            asked: how many questions the item has asked in this turn.
            now: the time, in seconds.
            missing: those that it asked in an earlier turn and not yet in this one.
        """
        if asked != self._asked:
            self._asked, self._since, self._quiet = asked, now, 0
            return False
        self._quiet += 1
        if self._quiet < self._turns:
            return False
        waited = now - self._since
        return self._alone or (waited >= STILL and (waited >= self._patience.seconds or not missing()))
