"""Progress: a bar, or whatever the user does with the numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from typing_extensions import override

from fanmap._drive import clock
from fanmap._types import RunStats

Progress = bool | Callable[[RunStats], object] | None
TICK = 0.1  # seconds between looks

WAITS = {
    "slot": "waiting for a slot",
    "rate": "waiting for the rate",
    "gate": "the server asked to wait",
    "repeat": "waiting to try again",
}


class Watcher:
    """Looks at a run ten times a second at most, and once when it is over."""

    def __init__(self) -> None:
        self._next = -math.inf
        self._over = False

    def look(self, stats: Callable[[], RunStats]) -> None:
        """Something may have happened."""
        now = clock.now()
        if now >= self._next and not self._over:
            self._next = now + TICK
            self._show(stats())

    def looking(self, stats: Callable[[], RunStats]) -> Callable[[], None]:
        """`look`, for whoever waits."""
        return partial(self.look, stats)

    def end(self, stats: Callable[[], RunStats]) -> None:
        """The run is over; again: nothing."""
        if not self._over:
            self._over = True
            try:
                self._show(stats())
            finally:
                self._close()

    def cut(self, stats: Callable[[], RunStats]) -> None:
        """As `end`, while an exception is on its way, which nothing here may hide."""
        try:
            self.end(stats)
        except Exception:  # said by a bar or a callable; the run's own exception is what the caller asked for
            pass

    def _show(self, stats: RunStats) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        """There is nothing more to show."""


def watcher(progress: Progress, name: str) -> Watcher | None:
    """What looks at the run; None: nobody asked."""
    if progress is None or progress is False:
        return None
    if progress is True:
        return _Bar(name)
    if not callable(progress):
        raise TypeError(f"progress must be True, a callable or None, got {progress!r}")
    return _Told(progress)


class _Told(Watcher):
    """Tells a callable; one that raises ends the run, and is told nothing more."""

    def __init__(self, tell: Callable[[RunStats], object]) -> None:
        super().__init__()
        self._tell = tell

    @override
    def _show(self, stats: RunStats) -> None:
        over, self._over = self._over, True
        self._tell(stats)
        self._over = over


class _Bar(Watcher):
    """A tqdm bar, in the terminal or the notebook."""

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            with warnings.catch_warnings():
                # In a notebook without ipywidgets tqdm warns, and then draws its bar in text.
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError('progress=True needs tqdm: pip install "fanmap[progress]"') from error
        self._make: Any = tqdm
        self._name = name
        self._bar: Any = None

    @override
    def _show(self, stats: RunStats) -> None:
        bar = self._bar
        if bar is None:
            bar = self._bar = self._make(total=stats.total, desc=self._name, unit="call")
            bar.start_t -= stats.seconds  # it is made at the first look, and the run began before
        bar.initial = stats.resumed  # or the rate, and the time left, would be those of reading a file
        bar.n = stats.done
        counts = (("resumed", stats.resumed), ("failed", stats.failed), ("refused", stats.refused))
        said = [f"{name} {count}" for name, count in counts if count]
        if stats.waiting_for is not None and not self._over:
            said.append(WAITS[stats.waiting_for])
        bar.set_postfix_str(", ".join(said), refresh=True)

    @override
    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
