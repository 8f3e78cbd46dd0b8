"""Progress: a bar, or whatever the user does with the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanmap._drive import clock
from fanmap._types import RunStats

Progress = bool | Callable[[RunStats], object] | None
TICK = 0.1  # seconds between looks


def watcher(progress: Progress, name: str) -> Callable[[RunStats, bool], None] | None:
    """What to tell the stats to, the second argument saying that the run has ended; None: nobody asked."""
    if progress is None or progress is False:
        return None
    if progress is True:
        return _Bar(name)
    if not callable(progress):
        raise TypeError(f"progress must be True, a callable or None, got {progress!r}")
    return _Told(progress)


class _Told:
    """Tells a callable, ten times a second at most."""

    def __init__(self, tell: Callable[[RunStats], object]) -> None:
        self._tell = tell
        self._last = -TICK

    def __call__(self, stats: RunStats, over: bool) -> None:
        now = clock.now()
        if over or now - self._last >= TICK:
            self._last = now
            self._tell(stats)


class _Bar:
    """A tqdm bar, in the terminal or the notebook."""

    def __init__(self, name: str) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError('progress=True needs tqdm: pip install "fanmap[progress]"') from error
        self._make: Any = tqdm
        self._name = name
        self._bar: Any = None

    def __call__(self, stats: RunStats, over: bool) -> None:
        bar = self._bar
        if bar is None:
            bar = self._bar = self._make(total=stats.total, desc=self._name, unit="call")
        if stats.done != bar.n:
            bar.update(stats.done - bar.n)
        if stats.failed or stats.refused:
            bar.set_postfix(failed=stats.failed, refused=stats.refused, refresh=False)
        if over:
            bar.close()
