"""Requests that could travel in a batch, and that no item has sent while one captures: warned of once a run.

They go to the wire at once, at full price: from a thread that the function's module has started for itself, or from
another part of the program.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from fanmap._drive.batch.clients import take
from fanmap._drive.batch.notices import warn_of_stray_request
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.wire import observing
from fanmap._drive.wire.observing import Request
from fanmap._policy.batch.question import Question, read_question

_watching: Final[list[Strays]] = []
_lock: Final = threading.Lock()


class Strays:
    """Watches while it is entered, until it has warned.

    Args:
        name: of the function.
        endpoints: the beginnings of URLs, other than the providers' own, whose servers take batches.
    """

    def __init__(self, name: str, endpoints: Sequence[str]) -> None:
        self.name = name
        self.endpoints = endpoints
        self.warned = False

    def __enter__(self) -> None:
        if not self.warned:
            with _lock:
                _watching.append(self)
                observing.unobserved = _look

    def claim(self) -> bool:
        """Is it to warn now? True once, and nothing is watched after that."""
        with _lock:
            first, self.warned = not self.warned, True
        self.__exit__()
        return first

    def __exit__(self, *_: object) -> None:
        with _lock:
            if self in _watching:
                _watching.remove(self)
            if not _watching:
                observing.unobserved = None


def _look(request: Request) -> None:
    """A request that nobody observes is about to go."""
    if current_scope.get() is not None:  # of a call of ours: of another run's, or one sent inside of a request
        return
    taken = take(request)
    if taken is None:
        return
    for one in tuple(_watching):
        if isinstance(read_question(*taken, one.endpoints), Question) and one.claim():
            warn_of_stray_request(one.name, taken.url.partition("?")[0].rpartition("@")[2])
