"""One puller of a run: a `Caller` that takes the next item when one has ended.

What it may take, and where outcomes go, is the run's business.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls import BACK_OFF, CALLING, IN_LINE, NEW, Caller, Todo, as_in_generator
from fanmap._drive.ending import Begun
from fanmap._policy.order import Record

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
            failed = self._attempts is not None and self.run.draining()
            self._drop()
            return self._give_up() if failed else self._next(self.run.take(self))
        return super().step()

    @override
    def returned(self, value: Any) -> Todo:
        """The function returned.

        The way of nearly every call is written out here, in one piece: the slot is kept from item to item, so
        that nothing needs to be asked but for the next item. It costs half of what the general way costs.
        """
        scope, plan, admission = self._scope, self.plan, self.plan.budget.admission
        if (
            not admission.quiet
            or plan.retry
            or scope is None
            or (scope.spare and not plan.budget.keep(scope))
            or (plan.plain and type(value) is CoroutineType)
        ):
            return super().returned(value)
        tally, started, ended = self.tally, self.started, clock.now()
        tally.done += 1
        seconds = ended - started
        tally.busy += seconds
        if seconds > tally.bar:
            tally.note(self.index, seconds)
        scope.ticket = None
        self._phase = NEW
        self._attempts = None
        record = (self.index, value, None, self._calls - self._refusals, self.queued, started, ended)
        self.queued = ended  # the next item's
        todo = self.run.hand_in(self, record)
        seat = self._seat
        if todo is not None or not admission.quiet or seat is None or seat.lent_to is not None:
            self._scope = None
            return self._next(todo)
        self._calls = self._refusals = 0
        queued = self.queued  # later than that, if the input was stepped meanwhile
        return self._begin(seat, queued if queued > ended else ended)

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
        self._attempts = None
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

    def so_far(self) -> Begun:
        """How far its item has come."""
        return self._calls - self._refusals, self.queued, self.started

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
            return self._next(run.hand_in(self, self._record(value, None)))
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            run.interrupt(error)
        elif isinstance(error, (StopIteration, StopAsyncIteration)):  # would pass for the end of `imap`
            error = as_in_generator(self.plan.name, error)
        try:
            return self._next(run.hand_in(self, self._record(None, error), stop=stop))
        finally:
            del error

    def _record(self, value: Any, error: BaseException | None) -> Record:
        ended, queued = clock.now(), self.queued
        self.queued = ended  # the next item's
        if self._calls:
            self.tally.busy += ended - self.started
            if ended - self.started > self.tally.bar:
                self.tally.note(self.index, ended - self.started)
        return self.index, value, error, self._calls - self._refusals, queued, self.started, ended

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
