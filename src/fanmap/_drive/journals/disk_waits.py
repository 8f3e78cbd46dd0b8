"""Waiting for the disk beside an event loop, which must not wait itself.

One warm thread waits at a time, for whatever was written when it began; everybody whose line that was is woken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from fanmap._drive.drivers import warm_threads
from fanmap._drive.journals.journal import Journal


class DiskWaits:
    """Those who wait for the disk to have what they wrote to this journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: deque[Callable[[], None]] = deque()
        self._at_work = False

    def wake_when_synced(self, wake: Callable[[], None]) -> None:
        """Have this called, from another thread, once the disk has what is written now, or has failed."""
        self._waiting.append(wake)
        if self._at_work:  # looks once more after it has said that it is not
            return
        self._at_work = True
        try:
            warm_threads.run_job(self._work, [], _nobody)
        except RuntimeError:  # no more threads: the loop waits after all
            self._work()

    def _work(self) -> None:
        waiting = self._waiting
        while waiting:
            wakes = [waiting.popleft() for _ in range(len(waiting))]
            self._journal.sync()
            for wake in wakes:
                with suppress(RuntimeError):  # its loop is closed
                    wake()
            if not waiting:
                self._at_work = False
                if not waiting or self._at_work:  # else something came in between
                    return
                self._at_work = True


def _nobody() -> None:
    """Nobody waits for the thread itself."""
