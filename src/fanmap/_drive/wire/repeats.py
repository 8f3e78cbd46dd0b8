"""Requests of an attempt that failed, and that their client may send again: which of them does a later one repeat?

A client's own repeat asks the same again. A function that asks another model, or another server, after a failure makes
no repeat. What was asked is kept as a number, a hash: no text of a prompt stays here.
"""

from __future__ import annotations

from typing import TypeAlias

from fanmap._drive.wire.observing import Request

Failure: TypeAlias = tuple[bool, int | None]
"""Was it refused, and what did it ask? None: that could not be seen, or does not matter."""


class Failures(list[Failure]):
    """Those that were not sent again yet. From any thread, and without a lock: each changes it in one step."""

    __slots__ = ()

    def add(self, request: Request, *, refused: bool) -> None:
        """This one failed."""
        # What follows a refusal makes up for it where attempts are counted, whatever it asks.
        self.append((refused, None if refused else request.wire.fingerprint(request.args, request.kwargs)))

    def take(self, request: Request) -> bool | None:
        """The last failure that this request may repeat is none any more: was it a refusal? None: it repeats none."""
        asks = request.wire.fingerprint(request.args, request.kwargs)
        for failure in reversed(tuple(self)):
            if asks is None or failure[1] in (None, asks):
                try:
                    self.remove(failure)
                except ValueError:  # another thread has it
                    continue
                return failure[0]
        return None
