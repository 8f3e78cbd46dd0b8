"""Ctrl-C and SIGTERM: the first asks the run to stop, the second leaves at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Listens while it is entered, in the main thread; a signal that is ignored stays so (nohup, a shell's `&`).

    Attributes:
        heard: the number of the first signal; None: there was none. The handler does nothing else: it may have
            interrupted whoever holds a lock.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def status(self) -> int:
        """The exit status: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.heard or signal.SIGINT)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for one in _SIGNALS:
                if signal.getsignal(one) not in (signal.SIG_IGN, None):
                    self._before[one] = signal.signal(one, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            signal.signal(one, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.heard is not None:
            _leave(128 + number)
        self.heard = number


def _leave(status: int) -> NoReturn:
    """End the process without waiting for anybody's thread, loop or clean-up."""
    lead = b"\n" if sys.stderr.isatty() else b""
    os.write(2, lead + b"fanmap: left at once, calls under way were given up\n")
    os._exit(status)
