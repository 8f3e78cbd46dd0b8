"""One puller of a run: a `Caller` that takes the next item when one has ended, and keeps its slot for it.

What it may take, and where outcomes go, is the run's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls.outcomes import Outcomes
from fanmap._drive.calls.plan import BACK_OFF, CALLING, END, IN_LINE, NEW, READ, Plan, Word
from fanmap._drive.calls.scope import Scope
from fanmap._drive.runs.exchanging import Exchanging
from fanmap._drive.runs.ports import ItemSource
from fanmap._errors import ENDS, Stopped, as_in_generator, note_item
from fanmap._policy.failures.groups import carries_interrupt
from fanmap._policy.limits.door import Door
from fanmap._policy.limits.permit import Owner, Permit
from fanmap._policy.runs.effects import Begun, Stop
from fanmap._policy.runs.results import Record
from fanmap._policy.streams import Whole, ordinary
from fanmap._raw import is_a


class Worker(Exchanging):
    """One puller of a run.

    Attributes:
        report: what the last item came to, for the next context to report; see the drivers.
        stream: what the item has returned and how that is read, to be read by the driver.
    """

    __slots__ = ("_gave_way", "report", "stream")

    def __init__(self, plan: Plan, outer: Scope | None, owner: Owner, run: ItemSource) -> None:
        super().__init__(plan, outer, owner, run)
        self._gave_way = 0
        self.report: tuple[Any, BaseException | None] | None = None
        self.stream: tuple[Any, Literal["sync", "async"]] | None = None

    # What the driver tells

    @override
    def step(self) -> Word:
        phase = self._phase
        if phase == NEW:
            return END if self.retiring else self._next(self.run.take(self))
        if (phase in (IN_LINE, BACK_OFF)) and not self.run.flow.may_start(self.index):
            return self._leave_item()
        if phase == IN_LINE and self._calls and self.run.others_first():
            if self.run.flow.has_less_tried(self._calls):
                return self._part_with(None, self.run.set_aside)
            if self._calls != self._gave_way and self.run.flow.waits_untried():
                self._gave_way = self._calls  # once: they may wait for something else
                self._release()
                return self._ask()  # behind those that are in line
        return super().step()

    @override
    def returned(self, value: Any) -> Word:
        plan = self.plan
        scope = self._scope
        admission = plan.budget.admission
        if (
            id(type(value)) not in ordinary  # pyright: ignore[reportUnknownArgumentType]
            or plan.retry
            or scope is None
            or not (admission.quiet or (admission.steady and plan.budget.rates))
            or (scope.transferable and not scope.retain())
        ):
            return super().returned(value)
        if self._reader is not None:
            self._read_to_end(self._reader, returned=True)
        return self._succeed(value, scope)

    @override
    def _returned_unusual(self, value: Any) -> Word | None:
        return self._read_whole(value) if type(value) is Whole else super()._returned_unusual(value)

    @override
    def _hold(self, stream: Any, kind: Literal["sync", "async"]) -> Word | None:
        """The driver reads it."""
        self.stream = stream, kind
        return READ

    def _read_whole(self, whole: Whole) -> Word:
        """The stream that the item has returned is over."""
        chunks, begun, error = whole
        del whole
        self.stream = None
        handed_out = self.plan.streams == "handed out"
        try:
            if error is None:
                self.ended(chunks)
                return self._deliver(None if handed_out else chunks, None, stop=False)
            if not begun:
                return self.raised(error)
            stop = self.broke_off(error, chunks)
            if type(error) is Stopped and self.run.abandoned():
                return END  # nobody waits for the rest: what becomes of the item is for the run to say
            if is_a(error, Exception):
                note_item(error, "fanmap: not sent again: its stream had begun")
            return self._deliver(None, error, stop=stop)
        finally:
            del error

    def resume(self) -> Word:
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

    # What the run looks at, from any thread

    def begun(self) -> bool:
        """Has its item been started, ever?"""
        return self._phase == CALLING or (self._calls > 0 and self._phase in (IN_LINE, BACK_OFF))

    def untried(self) -> bool:
        """Does it wait in line with an item that was never called?"""
        return self._phase == IN_LINE and not self._calls

    def timings(self) -> Begun:
        """How far its item has come."""
        return self._calls - self._refusals, self.queued, self.started

    def calling(self) -> bool:
        """Is its call under way?"""
        return self._phase == CALLING

    def waiting(self) -> bool:
        """Does its item wait for a slot, a rate or its next attempt?"""
        return self._phase in (IN_LINE, BACK_OFF)

    @override
    def is_in_the_way(self, other: Outcomes | None) -> bool:
        return True  # its run ends after it, and the call around that run may have the slot

    # What becomes of an item

    @override
    def _end(self, value: Any, error: BaseException | None, *, stop: Stop = False) -> Word:
        scope, permit = self._scope, self._permit
        admission = self.plan.budget.admission
        if (
            error is None
            and scope is not None
            and permit is not None
            and scope.retain()
            and (admission.quiet or permit.charges or (admission.turns is not None and not permit.background))
        ):
            return self._succeed(value, scope)
        return super()._end(value, error, stop=stop)

    def _succeed(self, value: Any, scope: Scope) -> Word:
        """An item was answered: its slot is kept for the next item, where nobody minds.

        Nothing is asked but for that item, or, with rates, its charge. This is the way of nearly every call.
        """
        tally, started, ended, permit = self.tally, self.started, clock.now(), self._permit
        tally.done += 1
        seconds = ended - started
        tally.busy += seconds
        if seconds > tally.slowest_threshold:
            tally.note(self.index, seconds)
        assert permit is not None
        took = self._took(value) if permit.charges and not self.plan.budget.counts_calls else None
        scope.permit = self._scope = self._attempts = None
        self._phase = NEW
        record = (self.index, value, None, self._calls - self._refusals, self.queued, started, ended)
        taken = self.run.complete(self, record)
        if type(taken) is not tuple:
            self.plan.budget.release(permit, took)
            self._permit = None  # only now: cut off by Ctrl-C, it is released once more
            return self._next(taken)
        self.index, self.item, queued = taken
        self.queued = queued
        self._calls = self._refusals = 0
        if took is None and self.plan.budget.admission.quiet and permit.lent_to is None:
            return self._begin(permit, queued if queued > ended else ended)
        return self._renew(permit, took)

    def _renew(self, permit: Permit, took: Any) -> Word:
        """The next item's turn; its charge on the slot that this worker has, where nobody waits."""
        budget = self.plan.budget
        if permit.lent_to is None and (permit.charges or budget.admission.turns is not None):
            costs: Sequence[float] | None = None
            if not budget.counts_calls:
                try:
                    costs = self._said_costs()
                except Exception as error:
                    budget.release(permit, took)
                    self._permit = None
                    return self._fail(error)
            if costs is not None and not self.run.flow.may_start(self.index):
                budget.release(permit, took)
            elif budget.renew(permit, took, costs):
                return self._begin(permit, permit.slotted)
            self._permit = None
            if costs is not None:  # said once; where the run was stopped, the item is left
                return self._get_in_line(costs)
        else:
            budget.release(permit, took)
            self._permit = None
        return self._ask()

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: Stop) -> Word:
        self._phase = NEW
        run = self.run
        if error is None:
            return self._next(run.complete(self, self._record(value, None)))
        if is_a(error, ENDS):  # would pass for the end of `imap`
            error = as_in_generator(self.plan.name, error)
        elif not is_a(error, Exception) and carries_interrupt(error):
            run.interrupt(error)
        elif self.plan.hint is not None:
            run.consider(self.plan.hint, self.item, error)
        try:
            return self._next(run.complete(self, self._record(None, error), stop=stop))
        finally:
            del error

    @override
    def _door(self) -> Door | None:
        door = self.run.door
        return None if door is None or door.let_in else door

    @override
    def _turned_away(self, permit: Permit) -> Word:
        """The run was: it ends with that, whatever it does with failures."""
        self.run.turn_away(self.plan.budget.busy(permit))
        self._drop()
        return self._next(self.run.take(self))

    @override
    def _fail_over(self, over: Exception) -> Word:
        """The run ends with this once what is under way has ended; the item in hand is not called (again)."""
        self.run.stop_for(over, over)
        return self._leave_item()

    @override
    def _get_in_line(self, costs: Sequence[float] | None) -> Word:
        known = costs is None or self.plan.budget.counts_calls
        if known or self.run.flow.may_start(self.index):  # still: the user's code may have taken a while to say them
            return super()._get_in_line(costs)
        self._phase = IN_LINE
        return self._leave_item()

    def _leave_item(self) -> Word:
        """The item in hand is not called (again): the run has been stopped."""
        failed = self._attempts is not None and self.run.flow.keeps_failures()
        self._drop()
        return self._give_up() if failed else self._next(self.run.take(self))

    def still_due(self) -> bool:
        """May the call that was let through still be made? For those that wait for something else before it."""
        in_time = self._attempts is None or self._attempts.time_left(clock.now()) >= 0
        return in_time and self.run.flow.may_start(self.index)

    @override
    def _not_called(self) -> Word:
        if self.run.flow.may_start(self.index):
            return super()._not_called()
        self._uncount()
        if not self._calls:
            self.run.never_began(self.index)
        self._phase = IN_LINE
        return self._leave_item()

    @override
    def _answered(self, permit: Permit) -> None:
        super()._answered(permit)
        self.run.answered()

    def _record(self, value: Any, error: BaseException | None) -> Record:
        ended, queued = clock.now(), self.queued
        self.queued = ended  # the next item's
        if self._calls:
            self.tally.busy += ended - self.started
            if ended - self.started > self.tally.slowest_threshold:
                self.tally.note(self.index, ended - self.started)
        return self.index, value, error, self._calls - self._refusals, queued, self.started, ended

    @override
    def _too_late(self, when: float) -> bool:
        return self.run.deadline is not None and when > self.run.deadline

    @override
    def _number(self) -> int | None:
        return self.index
