"""One puller of a run: a `Caller` that takes the next item when one has ended.

What it may take, and where outcomes go, is the run's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls import Caller
from fanmap._drive.outcomes import Outcomes
from fanmap._drive.plan import BACK_OFF, CALLING, END, FAILED, IN_LINE, NEW, READ, WAIT, Plan, Word
from fanmap._drive.ports import Ledger
from fanmap._drive.scope import Scope
from fanmap._errors import ENDS, as_in_generator, note_item
from fanmap._policy.door import Door
from fanmap._policy.effects import Begun, Taken
from fanmap._policy.groups import carries_interrupt
from fanmap._policy.inputs import Unfinished
from fanmap._policy.permit import Owner, Permit
from fanmap._policy.results import Record
from fanmap._policy.streams import Whole, ordinary
from fanmap._raw import is_a


class Worker(Caller):
    """One puller of a run.

    Attributes:
        index: of its item.
        report: what the last item came to, for the next context to report; see the drivers.
        retiring: it ends after this item.
        stream: what the item has returned and how that is read, to be read by the driver.
        tally_key: what its counts are found under.
    """

    __slots__ = ("_gave_way", "index", "report", "retiring", "run", "stream", "tally_key")

    def __init__(self, plan: Plan, outer: Scope | None, owner: Owner, run: Ledger) -> None:
        self.tally_key = object()  # not this worker, whom the books of a Limits must not keep: its loop may be lost
        super().__init__(plan, outer, owner, self.tally_key)
        self.run = run
        self.index = -1
        self._gave_way = 0
        self.queued = clock.now()
        self.report: tuple[Any, BaseException | None] | None = None
        self.retiring = False
        self.stream: tuple[Any, Literal["sync", "async"]] | None = None

    # What the driver tells

    @override
    def step(self) -> Word:
        phase = self._phase
        if phase == NEW:
            return END if self.retiring else self._next(self.run.take(self))
        if (phase in (IN_LINE, BACK_OFF)) and not self.run.may_start(self.index):
            failed = self._attempts is not None and self.run.keeps_failures()
            self._drop()
            return self._give_up() if failed else self._next(self.run.take(self))
        if phase == IN_LINE and self._calls and self.run.others_first():
            if self.run.has_less_tried(self._calls):
                return self._part_with(None, self.run.set_aside)
            if self._calls != self._gave_way and self.run.waits_untried():
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
            type(value) not in ordinary
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

    def withdraw(self, *, called: bool = True) -> None:
        """The worker ends before its item has: one that only waits goes back, first in line, for another worker.

        `called`: the driver has made the call that it was told to make.
        """
        self.retiring = True
        if self.run.stopping():  # `quit` drops it
            return
        if self._phase == CALLING and not called:
            self.tally.started -= 1
            self._calls -= 1
            if self._permit is not None:
                self._permit.started = False
        elif self._phase not in (IN_LINE, BACK_OFF, FAILED):
            return
        unfinished = self._unfinished()
        self._leave_back_off()
        self._release()
        self._phase = NEW
        self.run.put_back(unfinished)

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
    def _end(self, value: Any, error: BaseException | None, *, stop: bool = False) -> Word:
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
                    costs = self._costs()
                except Exception as error:
                    budget.release(permit, took)
                    self._permit = None
                    return self._fail(error)
            if budget.renew(permit, took, costs):
                return self._begin(permit, permit.slotted)
        else:
            budget.release(permit, took)
        self._permit = None
        return self._ask()

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Word:
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
        failed = self._attempts is not None and self.run.keeps_failures()
        self._drop()
        return self._give_up() if failed else self._next(self.run.take(self))

    @override
    def _out_of_attempts(self, error: Exception) -> Word:
        budget = self.plan.budget
        # Nobody has been answered since its first failure: an outage that has just begun, or this item's own fault?
        # The next item's attempt will tell, where there is one.
        if not budget.outage() and not (budget.failures_in_a_row() >= max(2, self.attempts) and self.run.has_more()):
            return super()._out_of_attempts(error)
        return self._part_with(None, self.run.set_aside)

    @override
    def _let_others_try(self, until: float) -> Word:
        if not self.run.has_others():
            return super()._let_others_try(until)
        return self._part_with(until, self.run.set_aside)

    @override
    def _stand_back(self, until: float) -> Word:
        self.tally.to_repeat += until - clock.now()
        return self._part_with(until, self.run.put_back)

    def _part_with(self, until: float | None, hand_over: Callable[[Unfinished], None]) -> Word:
        """The item is the run's again; go on with another."""
        self._release()  # first: what this attempt took is the item's
        unfinished = self._unfinished(until)
        self._attempts = None
        self._phase = NEW
        hand_over(unfinished)
        return self._next(self.run.take(self))

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

    # The next one

    def _next(self, taken: Taken) -> Word:
        if type(taken) is tuple:
            self.index, item, self.queued = taken
            self._calls = self._refusals = 0
            self._attempts = None
            self._unpack(item)
            return self._start_item()
        if type(taken) is Unfinished:
            return self._go_on_with(taken)
        self._phase = NEW
        self.delay = None
        return taken  # type: ignore[return-value]

    @override
    def _number(self) -> int | None:
        return self.index

    def _start_item(self) -> Word:
        """A new item is in hand."""
        return self._ask()

    def _unpack(self, item: Any) -> None:
        """What was taken becomes what is called with."""
        self.item = item

    def _packed(self) -> Any:
        """As it was taken."""
        return self.item

    def _unfinished(self, until: float | None = None) -> Unfinished:
        if until is None:
            until = self._until if self._phase == BACK_OFF else clock.now()
        return Unfinished(
            self.index, self._packed(), self.queued, self.started, self._calls, self._refusals, self._attempts, until
        )

    def _go_on_with(self, unfinished: Unfinished) -> Word:
        self.index, self.queued, self.started = unfinished.index, unfinished.queued, unfinished.started
        self._unpack(unfinished.item)
        self._calls, self._refusals, self._attempts = unfinished.calls, unfinished.refusals, unfinished.attempts
        if self._attempts is not None and self._attempts.over:
            self._attempts.one_more(clock.now())
        if not self._calls:
            return self._start_item()
        now = clock.now()
        if self._attempts is not None and self._attempts.time_left(now) < 0:
            return self._give_up()
        if unfinished.until <= now:
            return self._ask()
        self._phase, self._until, self.delay = BACK_OFF, unfinished.until, unfinished.until - now
        self._asked = now
        self.tally.backing_off += 1
        return WAIT

    def _drop(self) -> None:
        """The item in hand will not be called (any more)."""
        discard = self.plan.discard
        if discard is not None and self._calls == 0 and self._phase == IN_LINE:
            discard(self.item)
        self._leave_back_off()
        self._release()
        self._phase = NEW

    def _leave_back_off(self) -> None:
        if self._phase == BACK_OFF:
            self.tally.backing_off -= 1
