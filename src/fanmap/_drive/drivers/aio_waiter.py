"""How a task of an asyncio loop waits: on a future, until somebody wakes it."""

from __future__ import annotations

import asyncio
import threading
import weakref


class Waiter:
    """A task that waits; may be woken from any thread, and before it waits; two wake-ups are one.

    It does not keep its loop alive: whoever is in line under a Limits would, long after everybody has forgotten it.
    What a task waits for is kept by the loop, else nobody would keep a task that only waits here.
    """

    __slots__ = ("_future", "_loop", "_thread", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._thread = threading.get_ident()
        self._future: weakref.ref[asyncio.Future[None]] | None = None
        self._woken = False

    async def wait(self, seconds: float | None) -> None:
        """Until woken, or `seconds` are over (None: no bound); may return early."""
        if not self._woken:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._future = weakref.ref(future)
            kept = _kept_by(loop)
            kept.add(future)
            timer = None if seconds is None else loop.call_later(max(seconds, 1e-6), self.wake_here)
            try:
                await future
            finally:
                self._future = None
                kept.discard(future)
                if timer is not None:
                    timer.cancel()
        self._woken = False

    def wake(self) -> None:
        """From any thread; RuntimeError when the loop is closed."""
        loop = self._loop()
        if loop is None:
            raise RuntimeError("its event loop no longer exists")
        # Not by the thread alone: the loop may have moved to another one since.
        if threading.get_ident() == self._thread and asyncio._get_running_loop() is loop:
            self.wake_here()
        else:
            loop.call_soon_threadsafe(self.wake_here)

    def wake_here(self) -> None:
        """From the loop's own thread."""
        self._woken = True
        future = None if self._future is None else self._future()
        if future is not None and not future.done():
            future.set_result(None)


_kept: set[asyncio.Future[None]] = set()  # of loops that cannot keep anything themselves


def _kept_by(loop: asyncio.AbstractEventLoop) -> set[asyncio.Future[None]]:
    """What tasks of this loop wait for, kept for as long as the loop is."""
    kept: set[asyncio.Future[None]] | None = getattr(loop, "_fanmap_waits", None)
    if kept is None:
        kept = set()
        try:
            loop._fanmap_waits = kept  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        except AttributeError:
            kept = _kept
    return kept


def new_waiter() -> Waiter:
    """For this task to wait."""
    return Waiter(asyncio.get_running_loop())
