"""The inputs of a run that nobody has started yet, and those that came back unfinished.

A list, tuple or range is indexed by the workers, which nobody can tell. Any other input is stepped by whoever drives
this, into a short read-ahead. Pure: the input itself is user code and stays outside.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fanmap._policy.runs.attempt import Attempts

Entry = tuple[int, Any, float]
"""index, item, and when it was taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Unfinished:
    """An item whose worker is no more or goes on with others, or that was set aside: as far as it has come.

    Attributes:
        queued, started: as in its Outcome; `started` of its last call.
        calls, refusals: made, and refused, so far.
        attempts: its tries; None: it has not been tried.
        until: it is not to be sent again before then.
    """

    index: int
    item: Any
    queued: float
    started: float
    calls: int
    refusals: int
    attempts: Attempts | None
    until: float


class InputBuffer:
    """What is left to start.

    Args:
        items: a list, tuple or range, which workers index; None: another kind of input, which somebody steps.
        workers: of the run, at most; the read-ahead keeps them busy while the input is stepped again.

    Attributes:
        over: there is no more to step.
        returned: items that came back, the first of the input first; they go before all others once it is their time.
        aside: items that failed or were refused where nobody is answered: they have one more attempt when somebody is,
            or where nothing else can be taken.
    """

    __slots__ = ("_capacity", "_read_ahead", "aside", "items", "over", "returned")

    def __init__(self, items: Sequence[Any] | None, workers: int) -> None:
        self.items = items
        self.over = items is not None
        self.returned: list[Unfinished] = []
        self.aside: deque[Unfinished] = deque()
        self._read_ahead: deque[Entry] = deque()
        self._capacity = min(max(2 * workers, 16), 8 * workers)

    def __len__(self) -> int:
        """Items in the read-ahead."""
        return len(self._read_ahead)

    def more(self, taken: int) -> bool:
        """May there be items that nobody has taken? `taken` have been."""
        if self.items is not None:
            return taken < len(self.items)
        return bool(self._read_ahead) or not self.over

    def has_room(self) -> bool:
        """May the input be stepped, as far as the read-ahead goes?"""
        return not self.over and len(self._read_ahead) < self._capacity

    def put(self, entry: Entry) -> None:
        """An item was taken, ahead of the workers."""
        self._read_ahead.append(entry)

    def get(self) -> Entry:
        """The first of the read-ahead, for a worker."""
        return self._read_ahead.popleft()

    def at_low_watermark(self) -> bool:
        """Has the read-ahead just sunk to the mark at which it is to be refilled?"""
        return not self.over and len(self._read_ahead) == self._capacity // 2

    def put_back(self, unfinished: Unfinished) -> None:
        """First in line again."""
        if all(other.index != unfinished.index for other in self.returned):
            insort(self.returned, unfinished, key=lambda one: one.index)

    def take_back(self, now: float, may_start: Callable[[int], bool]) -> Unfinished | None:
        """The first of those that came back whose time has come."""
        return self._take_back(one for one in self.returned if one.until <= now and may_start(one.index))

    def take_early(self, may_start: Callable[[int], bool]) -> Unfinished | None:
        """Of those that came back, the one whose time comes next: for a worker that has nothing else to do."""
        startable = (one for one in self.returned if may_start(one.index))
        return self._take_back(sorted(startable, key=lambda one: one.until))

    def _take_back(self, chosen: Iterable[Unfinished]) -> Unfinished | None:
        one = next(iter(chosen), None)
        if one is not None:
            self.returned.remove(one)
        return one

    def set_aside(self, unfinished: Unfinished) -> None:
        """Those that came back after an attempt wait as well: one that nobody has tried tells more."""
        self.aside += (one for one in self.returned if one.calls)
        self.returned = [one for one in self.returned if not one.calls]
        self.aside.append(unfinished)

    def take_aside(self, may_start: Callable[[int], bool]) -> Unfinished | None:
        """Of those that were set aside, the one that was tried least, and of these the first."""
        least = min((one for one in self.aside if may_start(one.index)), key=lambda one: one.calls, default=None)
        if least is not None:
            self.aside.remove(least)
        return least

    def give_up(self) -> list[Unfinished]:
        """Those that were tried are no longer waited for."""
        tried = [one for one in (*self.returned, *self.aside) if one.calls]
        self.returned = [one for one in self.returned if not one.calls]
        self.aside.clear()
        return tried

    def recall(self) -> None:
        """What was set aside is first in line again."""
        while self.aside:
            self.put_back(self.aside.popleft())

    def unstarted(self) -> list[Any]:
        """Nothing more is taken: the items that were and never started."""
        left = [item for _, item, _ in self._read_ahead]
        left += [one.item for one in (*self.returned, *self.aside) if not one.calls]
        self._read_ahead.clear()
        self.returned.clear()
        self.aside.clear()
        return left
