"""How a worker comes by its items, and how it parts with one that it does not finish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls.caller import Caller
from fanmap._drive.calls.plan import BACK_OFF, CALLING, FAILED, IN_LINE, NEW, WAIT, Plan, Word
from fanmap._drive.calls.scope import Scope
from fanmap._drive.runs.ports import ItemSource
from fanmap._policy.limits.permit import Owner
from fanmap._policy.runs.effects import Taken
from fanmap._policy.runs.inputs import Unfinished


class Exchanging(Caller):
    """A caller whose items are a run's.

    Attributes:
        index: of its item.
        retiring: it ends after this item.
        tally_key: what its counts are found under.
    """

    __slots__ = ("index", "retiring", "run", "tally_key")

    def __init__(self, plan: Plan, outer: Scope | None, owner: Owner, run: ItemSource) -> None:
        self.tally_key = object()  # not this worker, whom the books of a Limits must not keep: its loop may be lost
        super().__init__(plan, outer, owner, self.tally_key)
        self.run = run
        self.index = -1
        self.queued = clock.now()
        self.retiring = False

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

    def _start_item(self) -> Word:
        """A new item is in hand."""
        return self._ask()

    def _unpack(self, item: Any) -> None:
        """What was taken becomes what is called with."""
        self.item = item

    def _packed(self) -> Any:
        """As it was taken."""
        return self.item

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

    # One that is parted with

    def withdraw(self, *, called: bool = True) -> None:
        """The worker ends before its item has: one that only waits goes back, first in line, for another worker.

        `called`: the driver has made the call that it was told to make.
        """
        self.retiring = True
        uncalled = self._phase == CALLING and not called
        if uncalled:
            self._uncount()
        if self.run.stopping():  # `quit` drops it
            return
        if not uncalled and self._phase not in (IN_LINE, BACK_OFF, FAILED):
            return
        unfinished = self._unfinished()
        self._leave_back_off()
        self._release()
        self._phase = NEW
        self.run.put_back(unfinished)

    @override
    def _out_of_attempts(self, error: Exception) -> Word:
        budget = self.plan.budget
        # Nobody has been answered since its first failure: an outage that has just begun, or this item's own fault?
        # The next item's attempt will tell, where there is one.
        all_fail = budget.failures_in_a_row() >= max(2, self.attempts)
        if budget.outage() or (all_fail and self.run.flow.has_more()):
            return self._part_with(None, self.run.set_aside)
        return super()._out_of_attempts(error)

    @override
    def _let_others_try(self, until: float) -> Word:
        if not self.run.flow.has_others():
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

    def _unfinished(self, until: float | None = None) -> Unfinished:
        if until is None:
            until = self._until if self._phase == BACK_OFF else clock.now()
        return Unfinished(
            self.index, self._packed(), self.queued, self.started, self._calls, self._refusals, self._attempts, until
        )

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
