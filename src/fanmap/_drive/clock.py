"""The only reader of time, and where threads wait for it to pass.

Everything that measures or waits asks `now()`; virtual time replaces the one function behind it with
`install`, and the world in which threads start, wait and sleep with `enter`. Seconds, monotonic, the same
clock for threads and for every event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Protocol

now: Callable[[], float] = time.monotonic
"""Seconds of one monotonic clock. Always called as `clock.now()`, so that `install` is seen everywhere."""


def install(source: Callable[[], float] | None) -> Callable[[], float]:
    """Replace the source of time (None: the real clock) and return the one it replaces."""
    global now
    previous, now = now, source or time.monotonic
    return previous


def wall() -> float:
    """Seconds since the epoch, for a Retry-After that is a date."""
    return time.time()


def pause(seconds: float) -> None:
    """Let other processes go on; in tests, too."""
    time.sleep(seconds)


def since_boot() -> float:
    """Seconds of a clock that all processes of this machine share, that nobody sets, and that goes on in a suspend."""
    return time.clock_gettime(_SINCE_BOOT)


# macOS has no CLOCK_BOOTTIME; its monotonic clock is one.
_SINCE_BOOT: int = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", 0))


class Lock(Protocol):
    """As much of `threading.Lock` as a thread needs to wait on one and be woken."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class World(Protocol):
    """Where threads start, wait and sleep."""

    def sleep(self, seconds: float) -> None: ...
    def new_lock(self) -> Lock: ...
    def new_event_loop(self) -> asyncio.AbstractEventLoop: ...
    def start_thread(self, main: Callable[[], None], name: str) -> threading.Thread: ...


class Real:
    """The world outside of tests."""

    new_lock = staticmethod(threading.Lock)
    new_event_loop = staticmethod(asyncio.new_event_loop)

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)

    def start_thread(self, main: Callable[[], None], name: str) -> threading.Thread:
        """Start a daemon."""
        thread = threading.Thread(target=main, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # Ctrl-C in its wait for the thread to begin comes out as "release unlocked lock", now and then. Taken for
            # "can't start new thread", it would be survived.
            interrupt = error.__context__
            while interrupt is not None and not isinstance(interrupt, KeyboardInterrupt):
                interrupt = interrupt.__context__
            if interrupt is None:
                raise
            raise interrupt
        return thread


def is_no_thread(error: BaseException) -> bool:
    """Did no further thread begin, as the system allows no more, or a subinterpreter none that is a daemon?

    A signal handler's exception may come out as well.
    """
    if type(error) not in (RuntimeError, MemoryError):
        return False
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    refused = (threading.Thread.start.__code__, threading.Thread.__init__.__code__)
    return step is not None and step.tb_frame.f_code in refused


world: World = Real()


def enter(other: World) -> World:
    """Replace the world and return the one it replaces."""
    global world
    previous, world = world, other
    return previous
