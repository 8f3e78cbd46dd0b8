"""A worker of a run with a journal: it looks before it calls, and writes before it hands in.

A write stands between an item's end and its result leaving, in the worker that made the call. When the file fails,
the run stops: no further call is paid for whose answer could not be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls.caller import Caller
from fanmap._drive.calls.plan import AGAIN, IN_LINE, NEW, WAIT, Word
from fanmap._drive.journals.codec import KeyedInput
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.worker import Worker
from fanmap._errors import JournalError, NotRun
from fanmap._policy.journals.kept import NOTHING_SPENT, of_call
from fanmap._policy.runs.effects import Stop

if TYPE_CHECKING:
    from fanmap._drive.journals.recording import Recording

# Phases beside those of every call.
RECORDED: Final = 6  # the file has this item's result
SYNCING: Final = 7  # its outcome is written, and the disk is to have it before it counts


class RecordingWorker(Worker):
    """A worker of a run with a journal."""

    __slots__ = ("_found", "_key", "_outcome", "_recording", "_run", "_spent", "_written")

    def __init__(self, run: Run, recording: Recording) -> None:
        super().__init__(run.plan, run.outer, run.owner, run)
        self._run = run
        self._recording = recording
        self._key: str | None = None
        self._found: Any = None
        self._spent = NOTHING_SPENT  # by the calls of its item
        self._written = NOTHING_SPENT  # of what it has spent, what stands in the file
        self._outcome: tuple[Any, BaseException | None, Stop, int] | None = None  # that the disk is to have first

    @override
    def _start_item(self) -> Word:
        if self._key is not None and not self._calls:
            if (failure := self._recording.failure) is not None:  # an answer could not be kept: it is not paid for
                return self._break_off(failure)
            try:
                found = self._recording.find(self.index, self._key)
            except JournalError as error:
                return self._break_off(error)
            if found is not None:
                (self._found,) = found
                # Through the driver's loop, not by a call from here: a thousand such items would recurse.
                self._phase = RECORDED
                return AGAIN
            if self._recording.closed:  # this thread was preempted, and the run has been left: nothing is found there
                return self._leave_item()
            self._recording.look(self._key)
        return super()._start_item()

    def _break_off(self, error: JournalError) -> Word:
        self._run.break_off(error)
        self._drop()
        return AGAIN

    @override
    def _unpack(self, item: Any) -> None:
        keyed: KeyedInput = item
        self.item, self._key, self._spent = keyed.item, keyed.key, keyed.spent

    @override
    def _packed(self) -> Any:
        return KeyedInput(self.item, self._key, self._spent)

    @override
    def step(self) -> Word:
        if self._phase == RECORDED:
            return self._hand_out_found()
        if self._phase == SYNCING:
            return self._look_at_disk()
        return super().step()

    def _hand_out_found(self) -> Word:
        value, self._found = self._found, None
        self._phase, now = NEW, clock.now()
        self.tally.resumed += 1
        queued, self.queued = self.queued, now
        return self._next(self.run.complete(self, (self.index, value, None, 0, queued, now, now)))

    @override
    def returned(self, value: Any) -> Word:
        return Caller.returned(self, value)

    @override
    def _end(self, value: Any, error: BaseException | None, *, stop: Stop = False) -> Word:
        return Caller._end(self, value, error, stop=stop)  # not by the way of nearly every call, which writes nothing

    @override
    def _took(self, value: Any) -> Sequence[float | None]:
        took, budget, permit = super()._took(value), self.plan.budget, self._permit
        if budget.has_totals and permit is not None and permit.started:
            self._spent += of_call(budget.rates, permit.charges, took)
        return took

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: Stop) -> Word:
        try:
            if self._key is not None and self._calls:
                spent, self._spent = self._spent, NOTHING_SPENT
                end = self._recording.write(self._key, self.index, clock.now() - self.started, value, error, spent)
                if spent:
                    self._written += spent
                if end and self.owner.can_be_blocked:  # a loop: others wait on it, and it must not wait itself
                    outcome: tuple[Any, BaseException | None, Stop, int] = (value, error, stop, end)
                    self._outcome, self._phase, self.delay = outcome, SYNCING, None
                    self._recording.wake_when_synced(self.wake)
                    return WAIT
                if end:
                    self._recording.wait_for_disk(end)
        except (JournalError, TypeError) as failure:
            self._run.break_off(failure)
        try:
            return super()._deliver(value, error, stop=stop)
        finally:
            del error

    def _look_at_disk(self) -> Word:
        assert self._outcome is not None
        try:
            if not self._recording.synced(self._outcome[3]):
                return WAIT
        except JournalError as failure:
            self._run.break_off(failure)
        return self._hand_over()

    @override
    def _drop(self) -> None:
        will_be_delivered = self._attempts is not None and self._run.flow.keeps_failures()
        super()._drop()
        if self._spent and self._key is not None and not will_be_delivered:  # paid for, whatever becomes of it
            spent, self._spent = self._spent, NOTHING_SPENT
            unfinished = NotRun("the run was stopped before this item was done")
            try:
                self._recording.write(self._key, self.index, clock.now() - self.started, None, unfinished, spent)
                self._written += spent
            except (JournalError, TypeError) as failure:
                self._run.break_off(failure)

    def _hand_over(self) -> Word:
        assert self._outcome is not None
        value, error, stop, _ = self._outcome
        self._outcome = None
        try:
            return super()._deliver(value, error, stop=stop)
        finally:
            del error

    @override
    def withdraw(self, *, called: bool = True) -> None:
        if self._phase == RECORDED:
            self._found, self._phase = None, IN_LINE  # it waits as any other: whoever takes it next finds it again
        elif self._phase == SYNCING:  # paid for, and in the file: it is not for somebody else
            self.retiring = True
            self._hand_over()
        super().withdraw(called=called)

    @override
    def quit(self) -> None:
        super().quit()
        written, self._written = self._written, NOTHING_SPENT
        if written:
            self.plan.budget.keep(self._recording.path, written)
        try:
            self._recording.check()
        except JournalError as error:
            self._run.break_off(error)
