"""What becomes of one call: an outcome, and the slot and charge that it gives back.

Costs (what it takes) → Listening (what it is told) → Outcomes → Entering (its way in) → Caller (its phases)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanmap._drive.calls.listening import Listening
from fanmap._drive.calls.plan import BACK_OFF, ENDED, NEW, Plan, Word
from fanmap._drive.calls.scope import Scope
from fanmap._errors import note_item
from fanmap._policy.limits.brake import given_up
from fanmap._policy.limits.permit import RUNNING, Owner, Permit
from fanmap._policy.runs.attempt import Attempts
from fanmap._policy.runs.effects import Stop


class Outcomes(Listening):
    """One call, or one item at a time, as far as its end goes.

    Attributes:
        delay: seconds to wait at most, after WAIT.
        wake: wakes whoever drives this caller; any thread may call it.
        owner: who makes the calls.
    """

    __slots__ = (
        "_asked", "_attempts", "_outer", "_pending_error", "_phase", "_scope", "_until", "delay", "owner", "queued",
        "wake",
    )  # fmt: skip

    def __init__(self, plan: Plan, outer: Scope | None, owner: Owner, tally_key: object) -> None:
        super().__init__(plan, plan.budget.tally_of(tally_key))
        self.wake: Callable[[], None] = nobody
        self.owner = owner
        self.delay: float | None = None
        self.queued = 0.0
        self._outer = outer
        self._phase = NEW
        self._scope: Scope | None = None
        self._attempts: Attempts | None = None
        self._pending_error: Exception | None = None  # instead of a first call
        self._until = 0.0
        self._asked = 0.0

    def quit(self) -> None:
        """Out of everything, whatever the phase; idempotent."""
        if self._phase == BACK_OFF:
            self.tally.backing_off -= 1
        self._phase = ENDED
        self._attempts = None
        try:
            if self._permit is not None:
                self._release()
        finally:
            if self._permit is not None:
                self._release()  # Ctrl-C between two byte codes: releasing twice is releasing once

    # What becomes of an item; a run's worker does otherwise

    def _deliver(self, value: Any, error: BaseException | None, *, stop: Stop) -> Word:
        raise NotImplementedError

    def _out_of_attempts(self, error: Exception) -> Word:
        """Its attempts have run out, by failures that tell of an outage if they are everybody's."""
        return self._end(None, error)

    def _answered(self, permit: Permit) -> None:
        """A success, where somebody wants to know."""
        self.plan.budget.answered(permit, self.started)

    def _too_late(self, when: float) -> bool:  # noqa: ARG002 (a run has a deadline, one call has none)
        return False

    @property
    def outer(self) -> Scope | None:
        """The call around this one."""
        return self._outer

    @property
    def attempts(self) -> int:
        """Calls of this item that were not refused."""
        return self._calls - self._refusals

    def leave_to(self, owner: Owner) -> None:
        """From now on this one says whether the call under way is over."""
        permit = self._permit
        if permit is not None and permit.state == RUNNING:  # in a line, it stands among its owner's
            permit.owner = owner

    # The end of an item

    def _give_up(self, value: Any = None) -> Word:
        """There will be no further attempt: the item ends with what its last one came to."""
        self._release(value)
        assert self._attempts is not None
        return self._end(None, self._attempts.last)

    def _fail_max_wait_exceeded(self) -> Word:
        """The server has told somebody to wait for longer than anybody here wants to."""
        self._release()
        reason, instead = self.plan.budget.obstacle()
        failure = None if self._attempts is None else self._attempts.last
        if failure is None:
            failure = instead
        else:  # it has been run
            note_item(failure, f"fanmap: not sent again: {reason}")
        try:
            return self._end(None, failure, stop=True)
        finally:
            del failure, instead

    def _fail_over(self, over: Exception) -> Word:
        """A total is used up, or nobody can count it: nothing more starts."""
        self._release()
        if over.__cause__ is None and self._attempts is not None:
            over.__cause__ = self._attempts.last
        try:
            return self._end(None, over, stop=True)
        finally:
            del over

    def _end_beyond_max_wait(self, error: Exception, wait: float | None, *, refused: bool = True) -> Word:
        """The server keeps everybody from working for longer than anybody here wants to wait: the run stops."""
        max_wait = self.plan.budget.max_wait
        note_item(error, f"fanmap: not sent again: {given_up(max_wait, wait, refused=refused)}")
        return self._end(None, error, stop="unanswered" if wait is None or wait <= max_wait else True)

    def _end(self, value: Any, error: BaseException | None, *, stop: Stop = False) -> Word:
        """An item has its outcome."""
        tally = self.tally
        tally.done += 1
        if error is not None:
            tally.failed += 1
        self._attempts = None
        self._release(value if error is None else None)
        return self._deliver(value, error, stop=stop)

    def _release(self, value: Any = None) -> None:
        """Give the permit back, unless the first call inside has claimed it. The one place; idempotent."""
        if self._reader is not None:  # it was cancelled, or put back
            self._read_to_end(self._reader, returned=False)
        scope, permit = self._scope, self._permit
        if permit is not None and (scope is None or scope.retain()):
            budget = self.plan.budget
            told = value is not None or self._taking is not None or budget.has_totals
            budget.release(permit, self._took(value) if told and permit.charges else None)
        self._declined = False
        if scope is not None:
            scope.permit = None
        self._scope = self._permit = None

    def _number(self) -> int | None:
        """Of its item, in a run."""
        return None

    def _repeatable(self) -> bool:
        repeatable = self.plan.repeatable
        return repeatable is None or repeatable(self.item)

    def _count(self) -> Attempts:
        attempts = self._attempts
        if attempts is None:
            attempts = self._attempts = Attempts(self.plan.retry or None, self.started)
        return attempts


def nobody() -> None:
    """Until a driver waits, there is nobody to wake."""
