"""Progress: a bar, or whatever the user does with the numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from typing_extensions import override

from fanmap._bar import fit
from fanmap._drive import clock
from fanmap._drive.notices import warn_of_progress
from fanmap._policy.checks import check_answers
from fanmap._types import Progress, RunStats
from fanmap._usage import in_dollars, in_tokens

TICK = 0.1  # seconds between looks


def what_is_spent(stats: RunStats) -> str:
    """Money where it is counted, else tokens where they are known; "": neither."""
    if stats.spent:
        return in_dollars(stats.spent)
    return in_tokens(stats.tokens.total) if stats.tokens.total else ""


class Watcher:
    """Looks at a run ten times a second at most, and once when it is over.

    What shows it may fail; that is said once, and ends nothing: the answers are paid for. KeyboardInterrupt,
    SystemExit and cancellation pass.
    """

    _what: ClassVar[str]

    def __init__(self) -> None:
        self._next = -math.inf
        self._over = False
        self._showing = False
        self._complained = False

    def look(self, stats: Callable[[], RunStats]) -> None:
        """Something may have happened."""
        now = clock.now()
        if now >= self._next and not self._over:
            self._next = now + TICK
            self._try(stats)

    def looking(self, stats: Callable[[], RunStats]) -> Callable[[], None]:
        """`look`, for whoever waits."""
        return partial(self.look, stats)

    def end(self, stats: Callable[[], RunStats]) -> None:
        """The run is over; again: nothing."""
        if not self._over:
            self._over = True
            try:
                self._try(stats)
            finally:
                try:
                    self._close()
                except Exception as error:
                    self._complain(error)

    def _try(self, stats: Callable[[], RunStats]) -> None:
        if self._showing:  # what shows it is itself waiting for the run
            return
        self._showing = True
        try:
            self._show(stats())
        except Exception as error:
            self._complain(error)
        finally:
            self._showing = False

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            warn_of_progress(self._what, error)

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
    if not callable(progress) or _is_bar(progress):
        from fanmap._hints import values  # only where something is wrong

        raise TypeError(f"progress must be True, a callable or None, got {progress!r}{values.progress(progress)}")
    check_answers("progress", progress, "stats")
    return _Callback(progress)


def _is_bar(progress: object) -> bool:
    """Is it a class of bars, as tqdm, of which each look at the run would make another one?"""
    return isinstance(progress, type) and hasattr(progress, "update")


class _Callback(Watcher):
    """Tells a callable."""

    _what = "the callable given as progress="

    def __init__(self, tell: Callable[[RunStats], object]) -> None:
        super().__init__()
        self._tell = tell

    @override
    def _show(self, stats: RunStats) -> None:
        self._tell(stats)


class _Bar(Watcher):
    """A tqdm bar, in the terminal or the notebook."""

    _what = "the progress bar"

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
            if not bar.disable:
                bar.start_t -= stats.seconds  # it is made at the first look, and the run began before
        if bar.disable:  # by TQDM_DISABLE or a program's own setting: such a bar has nothing in it
            return
        bar.initial = stats.resumed  # or the rate, and the time left, would be those of reading a file
        bar.n = stats.done
        bar.bar_format, said = fit(bar, stats, what_is_spent(stats), None if self._over else stats.waiting_for)
        bar.set_postfix_str(said, refresh=True)

    @override
    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
