"""Who runs a call: this thread's event loop, or threads that nobody else needs.

An owner holds its loop weakly: a loop that is closed, or that the collector has taken, is gone, and the slots of its
calls come back.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextlib import suppress
from typing import Any

from typing_extensions import override

from fanmap._drive.drivers import loops
from fanmap._policy.limits.permit import Owner


class LoopOwner:
    """One asyncio loop."""

    can_be_blocked = True

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)

    def runs(self, loop: object) -> bool:
        """Is it this loop?"""
        return self._loop() is loop

    def gone(self) -> bool:
        """Is the loop closed, or nowhere any more?"""
        loop = self._loop()
        return loop is None or loop.is_closed()


class LeftOwner(LoopOwner):
    """Stands for the owner of calls that nobody waits for any more: they are over as soon as its loop stands still.

    Attributes:
        whose: that owner.
    """

    __slots__ = ("whose",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.whose = of_asyncio(loop)

    @override
    def gone(self) -> bool:
        loop = self._loop()
        return loop is None or not loop.is_running()


class TrioOwner:
    """One run of trio, of its own or as the guest of another loop."""

    can_be_blocked = True

    __slots__ = ("_token",)

    def __init__(self, token: Any) -> None:
        self._token = weakref.ref(token)

    def runs(self, token: object) -> bool:
        """Is it this run?"""
        return self._token() is token

    def gone(self) -> bool:
        """Has the run ended, or is it nowhere any more?"""
        token = self._token()
        if token is None:
            return True
        try:
            token.run_sync_soon(_nothing, idempotent=True)
        except RuntimeError:  # trio.RunFinishedError
            return True
        return False


def _nothing() -> None:
    pass


class _Last(threading.local):
    asyncio: LoopOwner | None = None
    trio: TrioOwner | None = None


_last = _Last()  # in this thread: looked at first, because each direct call asks
_of_loop: weakref.WeakKeyDictionary[Any, LoopOwner] = weakref.WeakKeyDictionary()
_of_token: weakref.WeakKeyDictionary[Any, TrioOwner] = weakref.WeakKeyDictionary()


def of_asyncio(loop: asyncio.AbstractEventLoop) -> Owner:
    """The one owner that stands for this loop."""
    owner = _last.asyncio
    if owner is None or not owner.runs(loop):
        owner = _last.asyncio = _of_loop.setdefault(loop, LoopOwner(loop))
    return owner


def of_trio() -> Owner:
    """The one owner that stands for the run of trio in this thread."""
    import trio  # it runs: it is there

    token = trio.lowlevel.current_trio_token()
    owner = _last.trio
    if owner is None or not owner.runs(token):
        owner = _last.trio = _of_token.setdefault(token, TrioOwner(token))
    return owner


def running_here() -> Owner | None:
    """The event loop that runs in this thread; None: none does."""
    kind = loops.running()
    if kind is None:
        return None
    return of_trio() if kind == "trio" else of_asyncio(asyncio.get_running_loop())


def blocked_here() -> list[Owner]:
    """The event loops that stand still while something blocks this thread: two where trio is the guest of asyncio."""
    here = running_here()
    if here is None:
        return []
    blocked = [here]
    if type(here) is TrioOwner:
        with suppress(RuntimeError):  # it is nobody's guest
            blocked.append(of_asyncio(asyncio.get_running_loop()))
    elif loops.hosts_trio():
        blocked.append(of_trio())
    return blocked
