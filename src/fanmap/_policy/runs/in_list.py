"""Everything at the end: the results of `map`, `amap` and `gather_bounded`."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from fanmap._policy.runs.results import UNFINISHED, Record, ResultBuffer


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
        if index >= len(self.values):  # they have been let go of: of a thread that was left behind
            return False
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
