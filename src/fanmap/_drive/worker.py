"""One puller of a run: a `Caller` that takes the next item when one has ended.

What it may take, and where outcomes go, is the run's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls import BACK_OFF, CALLING, IN_LINE, NEW, Caller, Todo

if TYPE_CHECKING:
    from fanmap._drive.run import Run


class Worker(Caller):
    """One puller of a run."""

    __slots__ = ("index", "report", "run")

    def __init__(self, run: Run) -> None:
        super().__init__(run.plan, run.outer, run.owner, self)
        self.run = run
        self.index = -1
        # What the last item came to, for the next context to report; see the drivers.
        self.report: tuple[Any, BaseException | None] | None = None

    @override
    def step(self) -> Todo:
        phase = self._phase
        if phase == NEW:
            self.queued = clock.now()
            return self._next(self.run.take(self))
        if (phase in (IN_LINE, BACK_OFF)) and not self.run.may_start(self.index):
            self._drop()
            return self._next(self.run.take(self))
        return super().step()

    def resume(self) -> Todo:
        """The first step in a new thread, task or context: report what the last item came to, or begin."""
        report, self.report = self.report, None
        if report is None:
            return self.step()
        value, error = report
        del report
        try:
            return self.returned(value) if error is None else self.raised(error)
        finally:
            del error

    @override
    def quit(self) -> None:
        self._drop()
        super().quit()

    def _drop(self) -> None:
        """The item in hand will not be called (any more)."""
        discard = self.plan.discard
        if discard is not None and self._calls == 0 and self._phase == IN_LINE:
            discard(self.item)
        if self._phase == BACK_OFF:
            self.tally.backing_off -= 1
        self._release()
        self._phase = NEW

    def begun(self) -> bool:
        """Has its item been started, ever?"""
        return self._phase == CALLING or (self._calls > 0 and self._phase in (IN_LINE, BACK_OFF))

    def calling(self) -> bool:
        """Is its call under way?"""
        return self._phase == CALLING

    def waiting(self) -> bool:
        """Does its item wait for a slot, a rate or its next attempt?"""
        return self._phase in (IN_LINE, BACK_OFF)

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Todo:
        self._phase = NEW
        run = self.run
        if error is None:
            todo = run.hand_in(self, value, None)
            return self._start_item() if todo is None else self._next(todo)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            run.interrupt(error)
        elif isinstance(error, (StopIteration, StopAsyncIteration)):  # would pass for the end of `imap`
            stopped = RuntimeError(f"{self.plan.name} raised {type(error).__name__}")
            stopped.__cause__ = error
            error = stopped
        try:
            return self._next(run.hand_in(self, None, error, stop=stop))
        finally:
            del error

    @override
    def _too_late(self, when: float) -> bool:
        return self.run.deadline is not None and when > self.run.deadline

    def _next(self, todo: Todo | None) -> Todo:
        if todo is None:
            return self._start_item()
        self._release()
        self._phase = NEW
        self.delay = None
        return todo
