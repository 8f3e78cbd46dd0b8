"""What OpenTelemetry is told: a span for each wait of a call, and numbers of all Limits of this process.

Only its API is used; without a provider all of it leads nowhere. Numbers are read when somebody collects them, so a
call that does not wait costs nothing more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import RLock
from typing import Final, TypeAlias

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation

from fanmap._drive import clock
from fanmap._drive.books import all_books
from fanmap._drive.limits.budget import Budget
from fanmap._types import Stats

_SHORTEST: Final = 0.001  # seconds: what is shorter was our own arithmetic
_Observe: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]
_COUNTERS: Final = (
    ("fanmap.calls.started", "{call}", "Calls that were made, repeats included", (None,)),
    ("fanmap.calls.refused", "{call}", "Calls that a server refused to start", (None,)),
    ("fanmap.items.failed", "{item}", "Items that ended with an exception", (None,)),
    ("fanmap.wait", "s", "Seconds that calls waited, added up, by reason", ("slot", "gate", "rate", "back-off")),
    ("fanmap.tokens", "{token}", "Tokens used by calls, as far as reported, by type", ("input", "output")),
)
_SPLIT_BY: Final = {"fanmap.wait": "fanmap.reason", "fanmap.tokens": "fanmap.type"}


def _counts(stats: Stats) -> list[float]:
    """The numbers behind `_COUNTERS`, in that order."""
    return [
        stats.started, stats.refused, stats.failed,
        stats.waited_for_slot, stats.waited_at_gate, stats.waited_for_rate, stats.waited_to_repeat,
        stats.tokens.input, stats.tokens.output,
    ]  # fmt: skip


class Telemetry:
    """Spans and metrics under the name `fanmap`."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("fanmap")
        self._buried: deque[list[float]] = deque()  # of Limits that are no more, not added up yet
        self._gone = [0.0] * sum(len(parts) for *_, parts in _COUNTERS)  # of all those before
        self._adding_up = RLock()  # of those who collect; no call ever takes it
        meter = metrics.get_meter("fanmap")
        place = 0
        for name, unit, about, parts in _COUNTERS:
            meter.create_observable_counter(name, [self._counter(name, place, parts)], unit, about)
            place += len(parts)
        for name, about, read in (
            ("fanmap.calls.under_way", "Calls under way", _under_way),
            ("fanmap.calls.waiting", "Calls that wait", _waiting),
        ):
            meter.create_observable_up_down_counter(name, [_now(read)], "{call}", about)

    def waited(self, name: str, waits: Iterable[tuple[str, float]]) -> None:
        """A call is about to start, and has waited: one reason after the other, so many seconds for each.

        The spans' parent is what is current where the call runs.
        """
        waits = [(reason, seconds) for reason, seconds in waits if seconds >= _SHORTEST]
        at = int((clock.wall() - sum(seconds for _, seconds in waits)) * 1e9)
        with suppress(Exception):  # what a processor raises is its own affair
            for reason, seconds in waits:
                attributes = {"fanmap.reason": reason, "fanmap.function": name}
                span = self._tracer.start_span("fanmap.wait", start_time=at, attributes=attributes)
                at += int(seconds * 1e9)
                span.end(end_time=at)

    def bury(self, stats: Stats) -> None:
        """A Limits is no more; what it has counted stays. From any thread, on top of anything."""
        self._buried.append(_counts(stats))

    def _sums(self) -> list[float]:
        with self._adding_up:
            while self._buried:
                self._gone = [sum(pair) for pair in zip(self._gone, self._buried.popleft(), strict=True)]
            return [sum(each) for each in zip(self._gone, *(_counts(stats) for stats in _living()), strict=True)]

    def _counter(self, name: str, place: int, parts: Sequence[str | None]) -> _Observe:
        def observe(_: CallbackOptions) -> list[Observation]:
            sums = self._sums()[place : place + len(parts)]
            return [
                Observation(value, None if part is None else {_SPLIT_BY[name]: part})
                for part, value in zip(parts, sums, strict=True)
            ]

        return observe


def _living() -> list[Stats]:
    return [books.stats() for books in all_books() if isinstance(books, Budget)]


def _under_way(stats: Stats) -> int:
    return stats.in_flight


def _waiting(stats: Stats) -> int:
    return stats.waiting


def _now(read: Callable[[Stats], int]) -> _Observe:
    return lambda _: [Observation(sum(map(read, _living())))]
