"""Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn, Self

# SIGHUP: the terminal was closed, or the connection to it was lost.
_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_NAMES: Final = {signal.SIGINT: "Ctrl-C"}
_ECHO: Final = 0.2  # seconds in which the same signal again is no second request, but sent by another path:
# `timeout` signals its child and then the child's group, a shell passes on the SIGHUP that the terminal has sent.
_LATEST: Final = 1.0  # seconds after which it is one, said or not


class Interrupts:
    """Listens while it is entered, in the main thread; a signal that is ignored stays so (nohup, a shell's `&`).

    Args:
        now: seconds, for tests.

    Attributes:
        signal_received: the number of the first signal; None: there was none. The handler only notes it: it may have
            interrupted whoever holds a lock.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.signal_received: int | None = None
        self._now = now
        self._since = 0.0
        self._announced = False
        self._before: dict[int, Any] = {}

    @property
    def status(self) -> int:
        """The exit status: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.signal_received or signal.SIGINT)

    @property
    def name(self) -> str:
        """What people call the first signal."""
        number = signal.Signals(self.signal_received or signal.SIGINT)
        return _NAMES.get(number, number.name)

    def announce(self) -> bool:
        """May it be said now that the next one leaves at once? True once, when the first one's echoes have come."""
        if self.signal_received is None or self._announced or self._now() - self._since < _ECHO:
            return False
        self._announced = True
        return True

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for one in _SIGNALS:
                if signal.getsignal(one) not in (signal.SIG_IGN, None):
                    self._before[one] = signal.signal(one, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            signal.signal(one, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal_received is None:
            self._since = self._now()
            self.signal_received = number
        elif number != self.signal_received or self._announced or self._now() - self._since >= _LATEST:
            _leave(128 + number)


def _leave(status: int) -> NoReturn:
    """End the process without waiting for anybody's thread, loop or clean-up."""
    try:
        os.write(2, b"\n" * os.isatty(2) + b"fanmap: exiting now; in-flight calls abandoned\n")
    except OSError:  # nobody reads it
        pass
    os._exit(status)
