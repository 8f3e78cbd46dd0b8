"""The input of a run: where items come from, and the short read-ahead of those that nobody has started yet.

A list, tuple or range is indexed by the workers, which nobody can tell. Any other input is stepped where
the caller stands; an async one by a feeder task. The run's lock is held around everything but a step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, cast

from fanmap._policy.order import Order

Entry = tuple[int, Any, float]
"""index, item, and when it was taken."""


class Intake:
    """One input.

    Args:
        source: a list, tuple or range; an iterator; None: an async input, which a feeder pushes.
        order: the books of the run.
        workers: of the run, at most; the read-ahead keeps them busy while the input is stepped again.
        dress: what becomes of each input where it is stepped, in input order; None: workers take it as it is.

    Attributes:
        items: what workers may index; None: they may not.
        iterator: what is stepped; None: nothing is.
        over: there is no more to step.
    """

    __slots__ = ("_capacity", "_order", "_read_ahead", "_source", "items", "iterator", "over")

    def __init__(
        self,
        source: Sequence[Any] | Iterator[Any] | None,
        order: Order,
        workers: int,
        dress: Callable[[Any], Any] | None = None,
    ) -> None:
        self.items: Sequence[Any] | None = None
        self.iterator: Iterator[Any] | None = None
        self._source = source
        if isinstance(source, (list, tuple, range)) and dress is None:
            self.items = source
        elif source is not None:
            self.iterator = iter(source) if dress is None else map(dress, source)
        self.over = self.items is not None
        self._order = order
        self._read_ahead: deque[Entry] = deque()
        self._capacity = min(max(workers, 16), 8 * workers)

    def __len__(self) -> int:
        """Items in the read-ahead."""
        return len(self._read_ahead)

    def more(self) -> bool:
        """May there be items that nobody has started?"""
        if self.items is not None:
            return self._order.taken < len(self.items)
        return bool(self._read_ahead) or not self.over

    def has_room(self) -> bool:
        """May the input be stepped, as far as the read-ahead and the window go?"""
        return not self.over and len(self._read_ahead) < self._capacity and self._order.may_take()

    def put(self, item: Any, now: float) -> None:
        """An item was taken, ahead of the workers."""
        self._read_ahead.append((self._order.take(), item, now))

    def get(self) -> Entry:
        """The first of the read-ahead, for a worker."""
        return self._read_ahead.popleft()

    def runs_dry(self) -> bool:
        """Has the read-ahead just sunk to the mark at which it is to be refilled?"""
        return not self.over and len(self._read_ahead) == self._capacity // 2

    def close(self) -> tuple[list[Any], Generator[Any, Any, Any] | None]:
        """Nothing more is taken: the items never started, and the generator to close, if it is one."""
        unused = [item for _, item, _ in self._read_ahead]
        self._read_ahead.clear()
        source, self._source, self.iterator = self._source, None, None
        # Not a file, which is its owner's to close.
        return unused, cast("Generator[Any, Any, Any]", source) if isinstance(source, Generator) else None
