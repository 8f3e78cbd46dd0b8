"""The call behind a stream."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from typing_extensions import override

from fanmap._drive.calls.caller import Caller
from fanmap._drive.calls.direct import Single
from fanmap._drive.calls.plan import Plan
from fanmap._drive.wire.observing import Observer
from fanmap._policy.limits.permit import Owner
from fanmap._policy.streams import LAST


class StreamCall(Single):
    """The call behind a stream.

    Attributes:
        chunks: the last ones, of which one may say what it took.
    """

    __slots__ = ("chunks",)

    def __init__(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], owner: Owner) -> None:
        super().__init__(plan, args, kwargs, owner)
        self.chunks: deque[Any] = deque(maxlen=LAST)

    @classmethod
    def of(cls, single: Single) -> StreamCall:
        """Goes on with what this call holds: it has returned a stream."""
        args, kwargs = single.item
        call = cls(single.plan, args, kwargs, single.owner)
        single.hand_over(call)
        return call

    def observer(self) -> Observer | None:
        """Who reads the responses to what the stream's own code asks."""
        return self._reader

    def stop_observing(self) -> None:
        """In its reader's context: what that asks itself is not the stream's."""
        if self._reader is not None:
            self._reader.leave()

    def end(self) -> None:
        """It has ended, or its reader wants no more."""
        self._count_here()
        if self._permit is not None:
            self.ended(list(self.chunks))
        self.quit()

    def fail(self, error: BaseException) -> None:
        """It has failed after its first chunk."""
        self._count_here()
        if self._permit is not None:
            self.broke_off(error, list(self.chunks))
        self.quit()

    @override
    def quit(self) -> None:
        Caller.quit(self)  # the context is its reader's

    def _count_here(self) -> None:
        self.tally = self.plan.budget.tally_of(threading.get_ident())  # it may be read in another thread
