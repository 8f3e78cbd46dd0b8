"""How a thread waits: on a lock, until somebody wakes it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.on_top import begin_to_wait, end_to_wait, on_top, waits_here
from fanmap._errors import check_exit

if TYPE_CHECKING:
    from fanmap._drive.calls.caller import Caller

# Ctrl-C that comes while the main thread waits for the GIL does not interrupt the blocking call it then makes, and
# on Windows none is ever interrupted: the main thread looks up ten times a second.
_SLICE = 0.1
_REAL_LOCK = type(threading.Lock())


class Waiter:
    """A thread that waits; a wake-up before the wait is not lost, two are one."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = clock.world.new_lock()
        self._lock.acquire()

    def wait(self, seconds: float | None) -> None:
        """Until woken, or `seconds` are over (None: no bound); may return early."""
        self._wait(seconds)

    def _wait(self, seconds: float | None) -> bool:
        most = threading.TIMEOUT_MAX
        if self._hears_signals():
            check_exit()
            most = _SLICE
        return self._lock.acquire(timeout=most if seconds is None else min(max(seconds, 1e-6), most))

    def _hears_signals(self) -> bool:
        """Is this the main thread, in real time? No signal interrupts a virtual wait."""
        return threading.get_ident() == threading.main_thread().ident and type(self._lock) is _REAL_LOCK

    def wake(self) -> None:
        """From any thread."""
        try:
            self._lock.release()
        except RuntimeError:  # it was awake
            pass


class WaiterOnTop(Waiter):
    """One that waits on top of ours, and lets others go on meanwhile."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        super().__init__()
        self._since: float | None = None  # it waits, in slices; None: it was woken

    @override
    def wait(self, seconds: float | None) -> None:
        nested, woken = waits_here(), False
        try:
            if not nested:
                self._since = begin_to_wait(self._since)
            woken = self._wait(seconds)
        finally:
            if not nested:
                end_to_wait()
        if woken:
            self._since = None


def waiter_here(caller: Caller | None = None) -> Waiter:
    """For this thread to wait for others, or for this call to be let through."""
    return WaiterOnTop() if on_top(caller) else Waiter()
