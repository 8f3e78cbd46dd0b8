"""Who waits for a slot while streams that it reads itself have them all: nobody else could end that.

Streams keep their slots until they end, and stand still until their reader takes the next chunk.
"""

from __future__ import annotations

from threading import get_ident
from typing import Final

from fanmap._drive import clock
from fanmap._drive.drivers.loops import LOOK, me
from fanmap._drive.limits.budget import Budget
from fanmap._errors import BridgeError

_PATIENCE: Final = 10.0  # seconds in which somebody else may yet read them


class OwnStreams:
    """Of one thread or task that waits."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: float | None = None  # nothing has gone on

    def bound(self, name: str, budget: Budget, seconds: float | None) -> float | None:
        """How long to wait at most where one meant to wait for so many seconds (None: for ever).

        Raises:
            BridgeError: every slot is held by streams that wait for this thread or task.
        """
        # The code around the loop of a task (`asyncio.run`) goes on when that loop has ended.
        held = budget.held_only_for((me(), get_ident()))
        if held is None:
            return seconds
        if held:
            now = clock.now()
            self._since = now if self._since is None else self._since
            if now - self._since >= _PATIENCE:
                raise BridgeError(
                    f"{name} would wait for ever: streams hold every slot, and go on only when the code that waits "
                    "here takes their next chunk. Leave a slot free, as with stream(..., max_concurrency=), or give "
                    f"{name} Limits of its own"
                )
        return LOOK if seconds is None else min(LOOK, seconds)
