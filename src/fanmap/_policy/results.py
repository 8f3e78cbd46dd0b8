"""Which result leaves when, and from which input on nothing may be taken.

The results of one run, in four kinds: everything at the end (`InList`), in input order (`InOrder`), as they come
(`AsCompleted`), and their parts as they come (`Chunks`). Items are taken strictly in input order, so whoever was
taken first can be waited for without a deadlock. Pure: no lock, no thread, no clock.
"""

from __future__ import annotations

import math
from collections import deque
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


class InList(ResultBuffer):
    """Every result at the end; the first failure in time is the run's (as `asyncio.gather` has it)."""

    fails_at_once = True

    __slots__ = ("_errors", "values")

    def __init__(self, *, stop_on_failure: bool) -> None:
        super().__init__(None, stop_on_failure=stop_on_failure)
        self.values: list[Any] = []
        self._errors: set[int] = set()

    @override
    def take(self) -> int:
        index = self.taken
        self.taken = index + 1
        self.values.append(UNFINISHED)
        return index

    @override
    def _fail(self, index: int, error: BaseException) -> None:
        if self.failure is None:
            self.cut, self.failure = 0, (index, error)

    @override
    def add(self, record: Record) -> bool:
        index, error = record[0], record[2]
        if error is None:
            if self.values[index] is UNFINISHED:
                self.ended += 1
                self.values[index] = record[1]
            return False
        if index in self._errors:
            return False
        self.ended += 1
        self._count_failure(index, error)
        self._errors.add(index)
        if not self.stop_on_failure:  # else the exception carries the values, and must not be among them
            self.values[index] = error
        return False

    @override
    def pop_ready(self) -> Record | None:
        return None

    @override
    def has_ready(self) -> bool:
        return False

    @override
    def clear(self) -> None:
        super().clear()
        self.values = []

    def failures(self) -> list[int]:
        """Indices of those whose outcome is an exception, which stands among `values`."""
        return [] if self.stop_on_failure else sorted(self._errors)

    @override
    def finished(self) -> dict[int, Any]:
        done = {index: value for index, value in enumerate(self.values) if value is not UNFINISHED}
        for index in self._errors:
            done.pop(index, None)
        return done

    @override
    def missing(self) -> list[int]:
        return [i for i, value in enumerate(self.values) if value is UNFINISHED and i not in self._errors]


class InOrder(ResultBuffer):
    """Results leave in input order; of several failures the first in input order is the run's."""

    __slots__ = ("_done",)

    def __init__(self, window: int, *, stop_on_failure: bool) -> None:
        super().__init__(window, stop_on_failure=stop_on_failure)
        self._done: dict[int, Record] = {}

    @override
    def _fail(self, index: int, error: BaseException) -> None:
        if self.cut is None or index < self.cut:
            self.cut, self.failure = index, (index, error)

    @override
    def add(self, record: Record) -> bool:
        index, error = record[0], record[2]
        if index not in self._done and index >= self.handed:
            self.ended += 1
            if error is not None:
                self._count_failure(index, error)
            self._done[index] = record
        return self.handed in self._done

    @override
    def pop_ready(self) -> Record | None:
        record = self._done.pop(self.handed, None)
        if record is not None:
            self.handed += 1
            if self.bound:
                self.bound += 1
        return record

    @override
    def has_ready(self) -> bool:
        return self.handed in self._done

    @override
    def clear(self) -> None:
        super().clear()
        self._done.clear()

    @override
    def finished(self) -> dict[int, Any]:
        return {index: record[1] for index, record in sorted(self._done.items()) if record[2] is None}

    @override
    def missing(self) -> list[int]:
        return [index for index in range(self.handed, self.taken) if index not in self._done]


class AsCompleted(ResultBuffer):
    """Results leave as they end; a failure is an outcome like any other."""

    __slots__ = ("_open", "_ready")

    def __init__(self, window: int) -> None:
        super().__init__(window, stop_on_failure=False)
        self._ready: deque[Record] = deque()
        self._open: set[int] = set()

    @override
    def take(self) -> int:
        index = self.taken
        self.taken = index + 1
        self._open.add(index)
        return index

    @override
    def add(self, record: Record) -> bool:
        if record[0] in self._open:
            self.ended += 1
            if record[2] is not None:
                self._count_failure(record[0], record[2])
            self._open.discard(record[0])
            self._ready.append(record)
        return True

    @override
    def pop_ready(self) -> Record | None:
        if not self._ready:
            return None
        self.handed += 1
        self.bound += 1
        return self._ready.popleft()

    @override
    def has_ready(self) -> bool:
        return bool(self._ready)

    @override
    def clear(self) -> None:
        super().clear()
        self._ready.clear()

    @override
    def finished(self) -> dict[int, Any]:
        return {record[0]: record[1] for record in sorted(self._ready, key=lambda r: r[0]) if record[2] is None}

    @override
    def missing(self) -> list[int]:
        return sorted(self._open)


class Chunks(AsCompleted):
    """Chunks leave as they come, and of outcomes the failures. A chunk is (index, chunk, None, who is told so)."""

    __slots__ = ("_goes_on",)

    def __init__(self, window: int, *, goes_on: bool) -> None:
        super().__init__(window)
        self._goes_on = goes_on

    @override
    def add_chunk(self, chunk: Any) -> bool:
        if chunk[0] not in self._open:
            return False
        self._ready.append(chunk)
        return True

    @override
    def add(self, record: Record) -> bool:
        index, error = record[0], record[2]
        if index not in self._open:
            return bool(self._ready)
        self._open.discard(index)
        self.ended += 1
        self.handed += 1
        self.bound += 1
        if error is not None:
            self._count_failure(index, error)
            self._ready.append(record)
            if not self._goes_on:
                self.cut = self.bound = 0
        return bool(self._ready)

    @override
    def pop_ready(self) -> Record | None:
        return self._ready.popleft() if self._ready else None

    @override
    def finished(self) -> dict[int, Any]:
        return {}
