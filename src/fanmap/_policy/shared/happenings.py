"""What a process has to tell the others once: numbered, put together, and kept until a reply says it was taken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fanmap._policy.shared.messages import (
    ANSWERED,
    CONCURRENCY,
    DENIED,
    FAILED,
    OTHER,
    PRICED,
    RAMP,
    RATE,
    REFUSED,
    SETTLED,
    SPENT,
    TOLD,
    UNUSED,
)

BATCH_SECONDS: Final = 0.3  # that answers and settlements are put together at most
_KINDS: Final = {"rate": RATE, "concurrency": CONCURRENCY, "ramp": RAMP}
_TIMES: Final = {REFUSED: (7, 8), ANSWERED: (6,), FAILED: (2,), SPENT: (2,), TOLD: (8,)}  # places; "ago" when sent
_AT_ONCE: Final = 512  # events in one request


@dataclass(slots=True)
class Event:
    """One of them: its numbers as they are sent, but for times, and when it has to be sent."""

    wire: list[float]
    due: float


class Happenings:
    """Events that were not yet taken."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._number = 0
        self._sent = 0  # the last that may have been taken already

    def due(self) -> float:
        """When they have to be sent; inf: there are none."""
        return min((event.due for event in self._events), default=math.inf)

    def refused(
        self, kind: str, wait: float | None, epoch: int, crowd: int, still: int, started: float, now: float,
        max_wait: float, chance: float,
    ) -> None:  # fmt: skip
        """The server refused to start a call; arguments as for the ceiling and the brake."""
        named, number = -1.0 if wait is None else wait, _KINDS.get(kind, OTHER)
        self._add(REFUSED, [number, named, epoch, crowd, still, now, started, max_wait, chance], now)

    def answered(self, epoch: int, crowd: int, limit: int, started: float, now: float, *, urgent: bool) -> None:
        """A call was answered, and somebody wants to know."""
        due = now if urgent else now + BATCH_SECONDS
        for event in self._unsent(ANSWERED):
            if event.wire[2:5] == [epoch, crowd, limit]:
                event.wire[5] += 1
                event.wire[6] = max(event.wire[6], started)
                event.due = min(event.due, due)
                return
        self._add(ANSWERED, [epoch, crowd, limit, 1, started], due)

    def failed(self, started: float, now: float, max_wait: float, chance: float) -> None:
        """A call that began then and will be repeated failed."""
        self._add(FAILED, [started, max_wait, chance], now)

    def denied(self, now: float) -> None:
        """A call was refused for lack of permission."""
        self._add(DENIED, [], now)

    def spent(self, now: float) -> None:
        """The account is."""
        self._add(SPENT, [now], now)

    def settled(self, memory: int, place: int, start: float, more: float, now: float) -> None:
        """What started then took so much more than was booked, of one rate."""
        self._add(SETTLED, [memory, place, start, more], now + BATCH_SECONDS)

    def priced(self, place: int, many: int, dollars: float, now: float) -> None:
        """So many calls have told what they cost, together; it goes with the next request."""
        for event in self._unsent(PRICED):
            if event.wire[2] == place:
                event.wire[3] += many
                event.wire[4] += dollars
                return
        self._add(PRICED, [place, many, dollars], now)

    def learned(self, place: int, unit: int, numbers: Sequence[float], now: float) -> None:
        """An answer has told a limit of the server's: amount, burst, units a second, window."""
        self._add(TOLD, [place, unit, *numbers, now], now)

    def learned_none(self, now: float) -> None:
        """One has told that there are none."""
        self.learned(-1, 0, (0.0, 0.0, 0.0, 0.0), now)

    def unused(self, memory: int, start: float, costs: Sequence[float], now: float, *, lapsed: bool) -> None:
        """Nothing started then."""
        self._add(UNUSED, [memory, start, float(lapsed), *costs], now + BATCH_SECONDS)

    def is_telling(self, code: int) -> bool:
        """Is there one of this code that nobody has heard of yet?"""
        return any(event.wire[1] == code for event in self._events)

    def told(self, now: float) -> list[list[float]]:
        """What to put in a request that is sent now."""
        sent = [list(event.wire) for event in self._events[:_AT_ONCE]]
        for wire in sent:
            for place in _TIMES.get(int(wire[1]), ()):
                wire[place] = now - wire[place]
        if sent:
            self._sent = int(sent[-1][0])
        return sent

    def taken(self, number: int) -> None:
        """Those up to this number were taken."""
        self._events = [event for event in self._events if event.wire[0] > number]

    def _unsent(self, code: int) -> Iterator[Event]:
        return (event for event in self._events if event.wire[0] > self._sent and event.wire[1] == code)

    def _add(self, code: int, numbers: Sequence[float], due: float) -> None:
        self._number += 1
        self._events.append(Event([self._number, code, *numbers], due))
