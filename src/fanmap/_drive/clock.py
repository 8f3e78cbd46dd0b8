"""The only reader of time.

Everything that measures or waits asks `now()`; virtual time replaces the one function behind it
with `install`. Seconds, monotonic, the same clock for threads and for every event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_source: Callable[[], float] = time.monotonic


def now() -> float:
    """Seconds of one monotonic clock."""
    return _source()


def install(source: Callable[[], float] | None) -> Callable[[], float]:
    """Replace the source of time (None: the real clock) and return the one it replaces."""
    global _source
    previous = _source
    _source = source or time.monotonic
    return previous


def wall() -> float:
    """Seconds since the epoch, for a Retry-After that is a date."""
    return time.time()
