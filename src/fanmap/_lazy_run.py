"""The run behind results: begun by the first that asks for one, ended once, by whoever leaves it."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import get_ident
from typing import Any, NoReturn

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.drivers import loops, threads
from fanmap._drive.runs.launch import Launched
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.turn import Turn
from fanmap._progress import Watcher

process = object()  # another one in a forked child, which has none of the threads that its parent's runs need


def _in_child() -> None:
    global process
    process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class LazyRun:
    """The part of `Results` that begins, abandons and ends the run."""

    def __init__(self, name: str, launch: Callable[[bool], Launched[Any]], watcher: Watcher | None) -> None:
        self._name = name
        self._launch = launch
        self._watcher = watcher
        self._launched: Launched[Any] | None = None
        self._process = process
        self._blocking: bool | None = None
        self._blocks_loop = False  # where it began, a loop of asyncio runs that this blocks
        self._entered = False
        self._over = False
        self._turn = Turn()
        self._leftover = False  # the run has ended; outcomes of what never ran are still to be handed out

    @override
    def __reduce__(self) -> NoReturn:
        # Of two that read one run, the first to be dropped would stop it.
        raise TypeError(f"{self._name} is a run in progress and cannot be copied or pickled: write list(results)")

    def __del__(self) -> None:
        launched: Launched[Any] | None = getattr(self, "_launched", None)  # Ctrl-C may come before `__init__`
        if launched is not None and not self._over and not self._is_forked():
            self._abandon(launched)

    def __fanmap_partial__(self) -> dict[int, Any]:
        """For `partial_results`."""
        return {} if self._launched is None else self._launched.run.ending.finished()

    def _attach_partial_results(self, error: BaseException) -> None:
        if self._launched is not None:
            self._launched.run.ending.attach_partial_results(error)

    def _is_forked(self) -> bool:
        """Is this the forked child of the process in which the run is? Nothing of it can be waited for here."""
        return self._process is not process

    def _is_own(self, launched: Launched[Any]) -> bool:
        """Is this code in a task of the run: a call of it, or its async input?"""
        return launched.reader.feeds_here() or launched.run.is_around_this()

    def _waits_for_itself(self) -> str:
        return f"{self._name} is read in a call of its own, or in its input, and would wait for itself: read it outside"

    def _abandon(self, launched: Launched[Any]) -> None:
        self._over = True
        launched.abandon()
        self._show_last(launched.run)

    def _close_from_elsewhere(self, launched: Launched[Any]) -> None:
        """Nothing of it can be waited for here."""
        self._abandon(launched)
        self._end(launched.run)
        launched.run.ending.raise_close_error()

    def _start(self, *, blocking: bool) -> Launched[Any]:
        launched = self._launched
        if launched is None:
            launched = self._start_in_turn() if blocking else self._begin(blocking=False)
        elif self._is_forked():
            raise RuntimeError(
                f"{self._name} was started before this process forked: continue in the process that started it"
            )
        if blocking is not self._blocking:
            this, other = ("next()", "async for") if self._blocking else ("anext()", "for")
            raise RuntimeError(f"{self._name} is already being read with {this}; it cannot also be read with {other}")
        return launched

    def _start_in_turn(self) -> Launched[Any]:
        """Of several threads one begins the run."""
        turn, me = self._turn, get_ident()
        inside = turn.held_by(me)
        try:
            threads.take_turn(turn, me)
            return self._launched or self._begin(blocking=True)
        finally:
            if not inside:
                turn.give_back(me)

    def _begin(self, *, blocking: bool) -> Launched[Any]:
        if not blocking and not self._entered and loops.running() == "trio":
            raise RuntimeError(
                f"on trio, the tasks of {self._name} need a block that owns them: "
                "write `async with ... as results:` and then `async for result in results:`"
            )
        self._blocking, self._process = blocking, process
        self._blocks_loop = blocking and loops.running() == "asyncio"
        launched = self._launched = self._launch(blocking)
        try:
            launched.run.start()
        except BaseException:  # Ctrl-C
            self._abandon(launched)
            raise
        return launched

    def _look(self, run: Run) -> Callable[[], None] | None:
        return None if self._watcher is None else self._watcher.looking(run.stats)

    def _show_last(self, run: Run) -> None:
        if self._watcher is not None:
            self._watcher.end(run.stats)

    def _conclude(self, run: Run) -> None:
        self._leftover = True
        run.ending.finalize(clock.now())

    def _end(self, run: Run) -> None:
        self._over = True
        try:
            self._show_last(run)
        finally:
            run.ending.release()
