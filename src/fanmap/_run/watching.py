"""What is told on standard error while a run goes: one line that is rewritten, or one every ten seconds."""

from __future__ import annotations

import math
import shutil
import sys
from typing import TextIO

from fanmap import RunStats
from fanmap._progress import WAITS

_EVERY = 10.0  # seconds between lines where there is no terminal
_CLEAR = "\r\x1b[K"


class Watch:
    """Tells how a run goes.

    Args:
        total: rows, where it is known.
        quiet: tell nothing.
    """

    def __init__(self, total: int | None, *, quiet: bool) -> None:
        self._total = total
        self._quiet = quiet
        self._file: TextIO = sys.stderr
        self._terminal = self._file.isatty()
        self._next = _EVERY
        self._shown = False

    def look(self, stats: RunStats) -> None:
        """Called ten times a second."""
        if self._quiet:
            return
        if self._terminal:
            width = shutil.get_terminal_size().columns
            self._write(_CLEAR + line(stats, self._total)[: width - 1])
            self._shown = True
        elif stats.seconds >= self._next:
            self._next = _EVERY * (math.floor(stats.seconds / _EVERY) + 1)
            self._write(f"fanmap: {line(stats, self._total)}\n")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._write((_CLEAR if self._shown else "") + text + "\n")
        self._shown = False

    def clear(self) -> None:
        """Nothing more is to be rewritten."""
        if self._shown:
            self._shown = False
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


def line(stats: RunStats, total: int | None) -> str:
    """Where a run stands, in a line."""
    said = [f"{stats.done}/{total} done" if total is not None else f"{stats.done} done"]
    counts = (("failed", stats.failed), ("refused", stats.refused), ("resumed", stats.resumed))
    said += [f"{count} {name}" for name, count in counts if count]
    ended = stats.done - stats.resumed
    if ended and stats.seconds > 0:
        rate = ended / stats.seconds
        said.append(f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min")
        if total is not None and total > stats.done:
            said.append(f"{_clock((total - stats.done) / rate)} left")
    if stats.waiting_for is not None:
        said.append(WAITS[stats.waiting_for])
    return ", ".join(said)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
