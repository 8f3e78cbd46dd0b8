"""What is told on standard error while a run goes: one line that is rewritten, or one every ten seconds."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping

from fanmap._bar import SHORT, WAITS
from fanmap._progress import what_is_spent
from fanmap._stderr import is_terminal, say
from fanmap._types import Wait
from fanmap.types import RunStats

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
        self._terminal = is_terminal()
        self._next = _EVERY
        self._shown = False

    def look(self, stats: RunStats) -> None:
        """Called ten times a second."""
        if self._quiet:
            return
        if self._terminal:
            width = shutil.get_terminal_size().columns
            say(_CLEAR + fitted(stats, self._total, width - 1))
            self._shown = True
        elif stats.seconds >= self._next:
            self._next = _EVERY * (math.floor(stats.seconds / _EVERY) + 1)
            say(f"fanmap: {line(stats, self._total)}\n")

    def say(self, text: str) -> None:
        """A line of its own."""
        say((_CLEAR if self._shown else "") + text + "\n")
        self._shown = False

    def clear(self) -> None:
        """Nothing more is to be rewritten."""
        if self._shown:
            self._shown = False
            say(_CLEAR)


def fitted(stats: RunStats, total: int | None, columns: int) -> str:
    """`line`, in so many columns: what for calls wait is the last thing to go, after how many are done."""
    whole = line(stats, total)
    if len(whole) <= columns:
        return whole
    parts, reason = _parts(stats, total), _reason(stats, SHORT)
    while len(", ".join([*parts, *reason])) > columns and len(parts) > 1:
        parts.pop()
    return ", ".join([*parts, *reason])[: max(0, columns)]


def line(stats: RunStats, total: int | None) -> str:
    """Where a run stands, in a line."""
    return ", ".join([*_parts(stats, total), *_reason(stats, WAITS)])


def _reason(stats: RunStats, words: Mapping[Wait, str]) -> list[str]:
    return [] if stats.waiting_for is None else [words[stats.waiting_for]]


def _parts(stats: RunStats, total: int | None) -> list[str]:
    said = [f"{stats.done}/{total} done" if total is not None else f"{stats.done} done"]
    counts = (("failed", stats.failed), ("refused", stats.refused), ("resumed", stats.resumed))
    said += [f"{count} {name}" for name, count in counts if count]
    ended = stats.done - stats.resumed
    if ended and stats.seconds > 0:
        rate = ended / stats.seconds
        said.append(f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min")
        if total is not None and total > stats.done:
            said.append(f"{_clock((total - stats.done) / rate)} left")
    if spent := what_is_spent(stats):
        said.append(spent)
    return said


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
