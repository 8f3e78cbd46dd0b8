"""Results leave in input order: those of `imap`."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from fanmap._policy.runs.results import Record, ResultBuffer


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
