"""Which event loop runs in this thread.

anyio's own look-up is not used because a direct call would pay for it each time, and because it must also
answer for plain threads.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Literal


def running() -> Literal["asyncio", "trio"] | None:
    """The kind of loop that runs in this thread; None: no loop does."""
    trio = sys.modules.get("trio")
    try:
        if trio is not None and trio.lowlevel.in_trio_task():
            return "trio"
    except AttributeError:  # another thread is importing it: nobody runs in it yet
        pass
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    home = _homes.get(loop)
    return "asyncio" if home is None or home == threading.get_ident() else None


def hosts_trio() -> bool:
    """Has the asyncio loop of this thread trio as its guest?"""
    trio = sys.modules.get("trio")
    try:
        return trio is not None and trio.lowlevel.in_trio_run()
    except AttributeError:  # as above
        return False


def lives_here(loop: asyncio.AbstractEventLoop) -> None:
    """The background loop will run in this thread.

    Where gevent or eventlet has made greenlets of threads, asyncio takes it for the loop of every greenlet.
    """
    _homes[loop] = threading.get_ident()


_homes: Final = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int]()


def me() -> int:
    """A number for whoever runs here: this task, or this thread where no loop runs."""
    kind = running()
    if kind == "trio":
        return id(sys.modules["trio"].lowlevel.current_task())
    task = None if kind is None else asyncio.current_task()
    return threading.get_ident() if task is None else id(task)


LOOK: Final = 0.05
"""Seconds between looks of a call that blocks a running loop."""


class BlockedTask:
    """A task of asyncio that blocks its loop from now on, and so cannot be told that it was cancelled.

    Ctrl-C under `asyncio.run` is such a cancellation, of the main task and of what that awaits; asyncio can only set a
    mark. The blocking wait looks for one that was not there when it began. What comes out is the CancelledError that
    the task would see at its next `await`, which it then still sees.
    """

    __slots__ = ("_marks", "_task")

    def __init__(self) -> None:
        self._task: Callable[[], asyncio.Task[Any] | None] = _no_task
        self._marks = 0
        self.bound(None)

    def bound(self, seconds: float | None) -> float | None:
        """How long to wait at most where one meant to wait for so many seconds (None: for ever).

        Raises:
            CancelledError: the task was cancelled meanwhile.
        """
        if running() != "asyncio":
            return seconds
        task = asyncio.current_task()
        if task is not None:
            marks = task.cancelling()
            if task is not self._task():  # another task goes on with it
                self._task, self._marks = weakref.ref(task), marks
            elif marks > self._marks:
                raise asyncio.CancelledError
            self._marks = marks
        return LOOK if seconds is None else min(LOOK, seconds)


def _no_task() -> None:
    return None
