"""Results leave as they come: those of `as_completed`, and the chunks of `stream`."""

from __future__ import annotations

from collections import deque
from typing import Any

from typing_extensions import override

from fanmap._policy.runs.results import Record, ResultBuffer


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
