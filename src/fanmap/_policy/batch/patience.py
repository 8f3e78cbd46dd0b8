"""How long a batch job waits: between looks, after failures, and until its caller wants to go. Pure: told `now`."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

_FIRST_POLL: Final = 5.0  # seconds
_LONGEST_POLL: Final = 300.0
_GROWTH: Final = 1.5
_FAILURES: Final = 12  # in a row of one request to a batch interface, some half an hour
_FAILURES_AT_THE_END: Final = 3  # the same, where the caller wants to go


@dataclass(frozen=True, slots=True)
class Patience:
    """Of one call of `batch`.

    Attributes:
        until: when the caller wants to go, on our clock; None: never.
        poll: seconds between looks; None: 5, growing to 300.
    """

    until: float | None
    poll: float | None

    def delays(self) -> Generator[float]:
        """Seconds until each next look."""
        delay = self.poll or _FIRST_POLL
        while True:
            yield delay
            if self.poll is None:
                delay = min(delay * _GROWTH, _LONGEST_POLL)

    def is_over(self, now: float) -> bool:
        """Does the caller want to go?"""
        return self.until is not None and now >= self.until

    def at_most(self, delay: float, now: float) -> float:
        """This delay, or less where the caller wants to go sooner."""
        return delay if self.until is None else max(0.0, min(delay, self.until - now))

    def after_failures(self, failures: int, now: float) -> float:
        """Seconds until a request is sent again that has failed so often."""
        first = self.poll or _FIRST_POLL
        delay = float(min(first * 2 ** (failures - 1), _LONGEST_POLL))
        return delay if self.until is None else min(delay, max(first, self.until - now))

    def most_failures(self, now: float) -> int:
        """So often a request may fail in a row now."""
        return _FAILURES_AT_THE_END if self.is_over(now) else _FAILURES
