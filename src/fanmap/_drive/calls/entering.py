"""One call's way in: from its place in line to the moment in which its function is called."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from weakref import WeakMethod

from fanmap._drive import clock, telemetry
from fanmap._drive.calls import nesting
from fanmap._drive.calls.outcomes import Outcomes, nobody
from fanmap._drive.calls.plan import AGAIN, BACK_OFF, CALL, CALLING, FAILED, IN_LINE, WAIT, Word
from fanmap._drive.calls.scope import Scope, current_scope, enclosing
from fanmap._drive.limits.tally import Tally
from fanmap._policy.limits.door import Door
from fanmap._policy.limits.permit import RELEASED, RUNNING, SLOTTED, TURNED_AWAY, Permit
from fanmap._raw import INTERRUPTS, type_name
from fanmap._types import Wait


class Entering(Outcomes):
    """One call, or one item at a time, until it is let through."""

    __slots__ = ()

    # What others look at, and who is woken

    def inside(self) -> Scope | None:
        """The scope that its function's own code runs in."""
        return self._scope

    def waiting_for(self) -> Wait | None:
        """What its item waits for; None: it does not. From any thread."""
        phase, permit = self._phase, self._permit
        slotted = permit is not None and permit.state >= SLOTTED
        if phase == BACK_OFF or (phase == IN_LINE and slotted):
            if self.plan.budget.admission.opens_at() > clock.now():
                return "gate"
            return "rate" if phase == IN_LINE else "repeat"
        return "slot" if phase == IN_LINE else None

    def attach(self, wake: Callable[[], None]) -> bool:
        """Somebody is about to wait: from now on this wakes them. True: they were woken before, and `step` first."""
        self.wake = wake
        permit = self._permit
        if permit is None:
            return False
        permit.waker = wake
        return permit.woken

    def stream_stands(self, reader: int) -> None:
        """Its stream goes on when this reader, 0: somebody, has taken its chunk, or asks for the next."""
        permit = self._permit
        if permit is not None:
            permit.reader, permit.stands = reader, True
            self.plan.budget.streams = True

    def stream_goes_on(self) -> None:
        """The next chunk is on its way."""
        permit = self._permit
        if permit is not None:
            permit.stands = False

    def goes_first(self) -> None:
        """It is called on top of a section of ours: what it waits for in line may never come."""
        if self._phase == IN_LINE and self._permit is not None:
            self.plan.budget.admit_over_limit(self._permit)

    def is_in_the_way(self, other: Outcomes | None) -> bool:
        """Has it a slot in hand that the other one (None: any) may wait for, or is it in line before it?"""
        permit = self._permit
        held = permit is not None and permit.state != RELEASED
        return held and (other is None or other.plan.budget is self.plan.budget)

    @property
    def between_calls(self) -> bool:
        """Is its function not running?"""
        return self._phase != CALLING

    @property
    def attached(self) -> bool:
        """Does somebody drive it already?"""
        return self.wake is not nobody

    # From line to call

    def _ask(self) -> Word:
        try:
            costs = self._said_costs() if self.plan.budget.rates else None
        except Exception as error:
            return self._fail(error)
        return self._get_in_line(costs)

    def _said_costs(self) -> Sequence[float] | None:
        """As `_costs`; what that raises of the user's code is an Exception, but for an interrupt."""
        try:
            return self._costs()
        except (Exception, *INTERRUPTS):
            raise
        except BaseException as error:  # nothing is awaited there, so that it is nobody's cancellation
            raise RuntimeError(f"the cost of a call of {self.plan.name} raised {type_name(error)}") from error

    def _get_in_line(self, costs: Sequence[float] | None) -> Word:
        """What the call costs is known."""
        budget, outer = self.plan.budget, self._outer
        around = None if outer is None else enclosing(outer, budget)
        self._phase = IN_LINE
        self._asked = clock.now()
        if around is not None:
            permit = self._ask_inside(around, costs)
        else:
            permit = self._permit = self.plan.permit(costs, None, self.owner, self.wake)
            if budget.followed is not None and budget.followed.untold:
                permit.anew = WeakMethod(self._guess_anew)  # the Limits must not keep this: its loop may be lost
            if budget.max_waiting is None:
                self.delay = budget.join(permit, None)
            else:
                self._knock(permit)
        if permit.state == RUNNING:
            return self._begin(permit, clock.now())
        if permit.state == TURNED_AWAY:
            return self._turned_away(permit)
        if outer is not None:
            nesting.waits_inside(outer, budget, self.plan.name)
        if budget.has_totals and budget.over(permit) is not None:
            return AGAIN
        # The first in line would wait for the gate, however far away that is.
        return self._wait_in_line() if budget.hopeless() is None else AGAIN

    def _ask_inside(self, around: Scope, costs: Sequence[float] | None) -> Permit:
        """Go on with the permit of the call around this one, or get in line, to borrow its slot."""
        budget = self.plan.budget
        if around.transferable:
            claimed = self._permit = budget.claim(around, costs, self.wake, self.owner)
            if claimed is not None:
                if claimed.state != RUNNING:
                    self.delay = budget.look(claimed)
                return claimed
        parent = around.permit
        kind = self.plan.permit if parent is None else type(parent)  # its caller's
        permit = self._permit = kind(costs, parent, self.owner, self.wake)
        self.delay = budget.join(permit, around)
        return permit

    def _knock(self, permit: Permit) -> None:
        """Get in line where that has an end."""
        door = None if permit.background else self._door()
        if door is None:
            self.delay = self.plan.budget.join(permit, None)
        else:
            self.delay = self.plan.budget.knock(permit, door)

    def _door(self) -> Door | None:
        """Whose way in it is; None: it was let in before."""
        return None if self._calls else Door()

    def _turned_away(self, permit: Permit) -> Word:
        """The line is full."""
        return self._end(None, self.plan.budget.busy(permit))

    def _fail(self, error: Exception) -> Word:
        # Through the driver's loop, not by a call from here: a thousand such items would recurse.
        self._phase, self._pending_error = FAILED, error
        return AGAIN

    def _look(self) -> Word:
        permit = self._permit
        assert permit is not None
        budget = self.plan.budget
        if permit.state != RUNNING:
            self.delay = budget.look(permit)
        through = permit.state == RUNNING
        if self._attempts is not None and self._attempts.time_left(clock.now()) < 0:
            return self._give_up()
        if through:
            return self._begin(permit, clock.now())
        if permit.state == TURNED_AWAY:
            return self._turned_away(permit)
        if budget.hopeless() is not None:
            return self._fail_max_wait_exceeded()
        over = budget.over(permit) if budget.has_totals else None
        return self._wait_in_line() if over is None else self._fail_over(over)

    def _wait_in_line(self) -> Word:
        if self._attempts is not None:
            left = self._attempts.time_left(clock.now())
            if left < math.inf:
                self.delay = left if self.delay is None else min(self.delay, left)
        return WAIT

    def _begin(self, permit: Permit, now: float) -> Word:
        plan, tally = self.plan, self.tally
        scope = self._scope = plan.scope(plan.budget, permit, self._outer, plan.name)
        current_scope.set(scope)
        tally.started += 1
        if self._phase == IN_LINE:
            permit.started, permit.anew = True, None
            self._count_wait(tally, permit, now)
        self.started = now
        self._calls += 1
        self._phase = CALLING
        if plan.budget.reads:
            self._observe()
        return CALL

    def _count_wait(self, tally: Tally, permit: Permit, now: float) -> None:
        for_slot, at_gate, for_rate = permit.waited(self._asked, self.plan.budget.admission.opens_at(), now)
        tally.for_slot += for_slot
        tally.at_gate += at_gate
        tally.for_rate += for_rate
        told = telemetry.found or telemetry.look()
        if told is not None and now > self._asked:
            told.waited(self.plan.name, (("slot", for_slot), ("gate", at_gate), ("rate", for_rate)))
