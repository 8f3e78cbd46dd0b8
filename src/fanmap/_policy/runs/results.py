"""Which result leaves when, and from which input on nothing may be taken: what all kinds of it have.

The results of one run, in four kinds: everything at the end (`in_list`), in input order (`in_order`), as they come,
and their parts as they come (both `as_completed`). Items are taken strictly in input order, so whoever was taken
first can be waited for without a deadlock. Pure: no lock, no thread, no clock.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

from typing_extensions import override

from fanmap._raw import type_name


class _Sign:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @override
    def __repr__(self) -> str:
        return self._name


NOTHING_YET: Final = _Sign("NOTHING_YET")
UNFINISHED: Final = _Sign("UNFINISHED")

Record = tuple[int, Any, BaseException | None, int, float, float, float]
"""index, value, error, attempts, queued, started, ended: the fields of an Outcome."""


class ResultBuffer:
    """What was taken, what ended, and whether more may start.

    Attributes:
        taken: inputs taken so far; the index of the next one.
        bound: no input from this index on may be taken: the window's end; 0 after a failure that stops the run.
        ended: how many of them have their outcome.
        failed: how many of those are failures.
        kinds: how many of each type, by name.
        cut: no item from this index on may start; None: none failed.
        failure: index and error of the failure that stops the run.
    """

    fails_at_once: ClassVar[bool] = False  # a failure ends the run before what came earlier has ended

    __slots__ = ("_window", "bound", "cut", "ended", "failed", "failure", "handed", "kinds", "stop_on_failure", "taken")

    def __init__(self, window: int | None, *, stop_on_failure: bool) -> None:
        self._window = window
        self.stop_on_failure = stop_on_failure
        self.taken = 0
        self.bound: float = math.inf if window is None else window
        self.ended: int = 0
        self.handed: int = 0
        self.failed = 0
        self.kinds: dict[str, int] = {}
        self.cut: int | None = None
        self.failure: tuple[int, BaseException] | None = None

    def may_take(self) -> bool:
        """May the next input be taken? Not after a failure that stops the run, nor beyond the window."""
        return self.taken < self.bound

    def refill(self) -> bool:
        """Is there room enough to wake parked workers: for one item, and for an eighth of the window?

        One wake-up a batch: crossing into another thread's loop for every single item costs more than
        the item.
        """
        if not self.may_take():
            return False
        return self._window is None or self._window - (self.taken - self.handed) >= self._window // 8

    def take(self) -> int:
        """The next input has been taken; returns its index."""
        index = self.taken
        self.taken = index + 1
        return index

    def may_start(self, index: int) -> bool:
        """May an item that was taken start (or be repeated)? Items before the failing one may."""
        return self.cut is None or index < self.cut

    def add(self, record: Record) -> bool:
        """An item has its outcome (told twice, it counts once); may a result leave now?"""
        raise NotImplementedError

    def add_chunk(self, chunk: Any) -> bool:
        """A part of an item's result; may it leave now?"""
        raise NotImplementedError

    def _count_failure(self, index: int, error: BaseException) -> None:
        self.failed += 1
        kind = type_name(error)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.stop_on_failure:
            self._fail(index, error)
            self.bound = 0

    def _fail(self, index: int, error: BaseException) -> None:
        raise NotImplementedError

    def pop_ready(self) -> Record | None:
        """The next record that may leave, or None: nothing yet."""
        raise NotImplementedError

    def has_ready(self) -> bool:
        """Would `pop_ready` return a record?"""
        raise NotImplementedError

    def finished(self) -> dict[int, Any]:
        """Index to value of what succeeded and was not handed out."""
        raise NotImplementedError

    def missing(self) -> list[int]:
        """Indices that were taken and have no outcome."""
        raise NotImplementedError

    def clear(self) -> None:
        """Let go of every result and exception that did not leave: their tracebacks hold the run."""
        self.failure = None
