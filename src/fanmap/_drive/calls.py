"""One call at a time: ask for admission, call, repeat, deliver the outcome.

A `Caller` is told what happened and answers what to do next; it never waits and never calls the user's
function. Threads and event loops drive the same object and differ in how they wait and in nothing else.

    phase     told                                      next      answers
    NEW       step: let through at once                 CALLING   CALL
    NEW       step: others are first                    IN_LINE   WAIT
    NEW       step: what it costs can't be told         FAILED    AGAIN
    IN_LINE   step: let through                         CALLING   CALL
    IN_LINE   step: not yet                             IN_LINE   WAIT
    NEW, IN_LINE  step: the line was full               (ended)   what comes after an outcome
    IN_LINE   step: too late, or the gate too far       (ended)   what comes after an outcome
    CALLING   returned, raised: to be sent again        BACK_OFF  WAIT
    CALLING   returned, raised: for good                (ended)   what comes after an outcome
    BACK_OFF  step: it is time                          as NEW
    BACK_OFF  step: not yet                             BACK_OFF  WAIT
    FAILED    step                                      (ended)   what comes after an outcome

What comes after an outcome: END for a call of its own, the next item (NEW) for a run's worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import CoroutineType
from typing import Any, Final, Literal, cast

from fanmap._drive import clock, nesting, telemetry
from fanmap._drive.listening import Listening
from fanmap._drive.notices import log_refusal
from fanmap._drive.plan import AGAIN, CALL, END, WAIT, Plan, Word
from fanmap._drive.reading import objects
from fanmap._drive.scope import Scope, current_scope, enclosing
from fanmap._errors import claims_thread, note_item
from fanmap._policy.attempt import Attempts
from fanmap._policy.brake import given_up
from fanmap._policy.door import Door
from fanmap._policy.permit import RELEASED, RUNNING, SLOTTED, TURNED_AWAY, Owner, Permit
from fanmap._policy.streams import ordinary, stream_kind, telling
from fanmap._policy.verdict import OUTAGES, Verdict
from fanmap._raw import INTERRUPTS, is_a, type_name
from fanmap._types import Tally, Wait

NEW, IN_LINE, CALLING, BACK_OFF, FAILED, ENDED = range(6)
_ONLY_ONCE: Final = (
    "fanmap: the server refused this call, and an awaitable cannot be sent again: decorate the `async def` with "
    "`parallel_map`, or give gather_bounded functions, for instance functools.partial(ask, prompt)"
)


class Caller(Listening):
    """The life of one item at a time.

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
        self.wake: Callable[[], None] = _nobody
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

    # What the driver tells

    def step(self) -> Word:
        """Go on: at the start, when woken, and when the delay is over."""
        phase = self._phase
        if phase == IN_LINE:
            return self._look()
        if phase == BACK_OFF:
            return self._back_from_back_off()
        if phase == NEW:
            return self._ask()
        if phase == FAILED:
            error, self._pending_error = self._pending_error, None
            return self._end(None, error)
        return END

    def returned(self, value: Any) -> Word:
        """The function returned."""
        if type(value) not in ordinary:
            todo = self._returned_unusual(value)
            if todo is not None:
                return todo
        plan = self.plan
        if self._reader is not None:
            self._read_to_end(self._reader, returned=True)
        budget = plan.budget
        if not budget.admission.steady and self._permit is not None:
            self._answered(self._permit)
        retry = plan.retry
        if retry and retry.on is not None and self._repeatable():
            now = clock.now()
            verdict = self._count().returned(value, now, budget.random.random())
            if verdict is not None:
                if not isinstance(verdict, Exception) and not self._too_late(now + verdict):
                    return self._back_off(now + verdict, value)
                return self._give_up(value)
        return self._end(value, None)

    def _returned_unusual(self, value: Any) -> Word | None:
        """A mistake, a stream, or a type that was not seen before (None: it is as any other)."""
        plan = self.plan
        if plan.plain and type(value) is CoroutineType:
            value.close()
            return self._end(
                None,
                TypeError(f"{plan.name} returned a coroutine: decorate the `async def` itself, or await it inside"),
            )
        kind = stream_kind(value)
        return None if kind is None or plan.streams is None else self._hold(value, kind)

    def _hold(self, stream: Any, kind: Literal["sync", "async"]) -> Word | None:  # noqa: ARG002
        """The call returned a stream: its slot is held until that ends."""
        return None

    def ended(self, chunks: Sequence[Any]) -> None:
        """A stream has come to its end, or its reader wants no more of it; some of its last chunks, in order."""
        if self._reader is not None:
            self._read_to_end(self._reader, returned=True)
        if not self.plan.budget.admission.steady and self._permit is not None:
            self._answered(self._permit)
        self.tally.done += 1
        self._attempts = None
        self._release(telling(chunks))

    def broke_off(self, error: BaseException, chunks: Sequence[Any]) -> bool:
        """A stream that had begun has failed: it is not read again. True: no other is worth beginning."""
        reader, permit, budget = self._reader, self._permit, self.plan.budget
        if reader is not None:
            self._read_to_end(reader, returned=False)
            reader.tell_held(self)
        stop = False
        if is_a(error, (Exception, BaseExceptionGroup)):
            if claims_thread(error):
                self.tally.abandoned += 1
            verdict = self._read(error, None if reader is None or not reader.requests else reader).verdict
            if verdict.refused_to_start and permit is not None:  # of whoever comes next
                stop = budget.refused(verdict, permit, self.started).exhausted
            stop = stop or verdict.kind == "spent"
        self.tally.done += 1
        self.tally.failed += 1
        self._attempts = None
        self._release(telling(chunks))
        return stop

    def raised(self, error: BaseException) -> Word:
        """The function raised."""
        plan, now = self.plan, clock.now()
        budget, started = plan.budget, self.started
        reader = self._reader
        if reader is not None:
            self._read_to_end(reader, returned=False)
        if not is_a(error, (Exception, BaseExceptionGroup)):
            if reader is not None:
                reader.tell_held(self)
            return self._end(None, error)
        error = cast("Exception", error)  # or a group with a cancellation in it, that may say as much
        permit = self._permit
        assert permit is not None
        if claims_thread(error):
            self.tally.abandoned += 1
        said = self._read(error, reader)
        verdict = said.verdict
        hidden = said.hidden if reader is None or not reader.requests else reader.hidden.count(False)
        if verdict.refused_to_start:
            # What a reader has told when it came is not told again; what it held back is this refusal.
            times = 1 + hidden if reader is None or not reader.requests else 0 if reader.refused else 1
            return self._refused(error, verdict, permit, now, times)
        if reader is not None:
            reader.tell_held(self)
        if verdict.kind == "permanent" and verdict.wait is not None:
            # x-should-retry: false, or a group. This item is not sent again, and the wait is everybody's.
            if budget.refused(verdict, permit, started).exhausted:
                return self._end_beyond_max_wait(error, verdict.wait)
            return self._end(None, error)
        if verdict.kind == "spent":
            budget.spent()
            return self._end(None, error, stop=True)
        if verdict.kind == "forbidden" and budget.denied():
            return self._end(None, error, stop=True)
        if plan.retry and self._repeatable():
            exhausted = verdict.kind in OUTAGES and budget.failed(started)
            try:
                delay = self._count().failed(error, verdict, now, budget.random.random(), hidden=hidden)
            except BaseException as failure:
                if not objects(error, failure):  # a strategy's own
                    raise
                return self._end(None, error)
            if exhausted:
                return self._end_beyond_max_wait(error, None, refused=False)
            if delay is not None and not self._too_late(now + delay):
                return self._back_off(now + delay)
            if verdict.kind in OUTAGES and self._attempts is not None and self._attempts.over:
                return self._out_of_attempts(error)
        return self._end(None, error)

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

    def goes_first(self) -> None:
        """It is called on top of a section of ours: what it waits for in line may never come."""
        if self._phase == IN_LINE and self._permit is not None:
            self.plan.budget.admit_over_limit(self._permit)

    def is_in_the_way(self, other: Caller | None) -> bool:
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
        return self.wake is not _nobody

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

    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Word:
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

    # Its way, phase by phase

    def _ask(self) -> Word:
        plan = self.plan
        budget = plan.budget
        around = None if self._outer is None else enclosing(self._outer, budget)
        try:
            costs = self._costs() if budget.rates else None
        except Exception as error:
            return self._fail(error)
        except INTERRUPTS:
            raise
        except BaseException as error:  # nothing is awaited there, so that it is nobody's cancellation
            failure = RuntimeError(f"the cost of a call of {plan.name} raised {type_name(error)}")
            failure.__cause__ = error
            return self._fail(failure)
        self._phase = IN_LINE
        self._asked = clock.now()
        if around is not None:
            permit = self._ask_inside(around, costs)
        else:
            permit = self._permit = plan.permit(costs, None, self.owner, self.wake)
            if budget.max_waiting is None:
                self.delay = budget.join(permit, None)
            else:
                self._knock(permit)
        if permit.state == RUNNING:
            return self._begin(permit, clock.now())
        if permit.state == TURNED_AWAY:
            return self._turned_away(permit)
        if self._outer is not None:
            nesting.waits_inside(self._outer, budget, plan.name)
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
            permit.started = True
            self._count_wait(tally, permit, now)
        self.started = now
        self._calls += 1
        self._phase = CALLING
        if plan.budget.reads:
            self._observe()
        return CALL

    def _count_wait(self, tally: Tally, permit: Permit, now: float) -> None:
        slotted = max(permit.slotted, self._asked)
        for_slot = slotted - self._asked
        tally.for_slot += for_slot
        at_gate = max(0.0, min(self.plan.budget.admission.opens_at(), now) - slotted)
        tally.at_gate += at_gate
        for_rate = max(0.0, now - slotted - at_gate)
        tally.for_rate += for_rate
        told = telemetry.found or telemetry.look()
        if told is not None and now > self._asked:
            told.waited(self.plan.name, (("slot", for_slot), ("gate", at_gate), ("rate", for_rate)))

    def _refused(self, error: Exception, verdict: Verdict, permit: Permit, now: float, times: int) -> Word:
        """The server refused to start it: everybody's affair, until it is this item again and again."""
        plan, budget = self.plan, self.plan.budget
        self._refusals += times
        self._declined = True
        self.tally.refused += times
        log_refusal(plan.name, self._number(), verdict.kind, verdict.wait)
        again = plan.retry is not False and self._repeatable()
        if again and self._attempts is None:
            self._attempts = Attempts(plan.retry or None, self.started)
        refusals = None if self._attempts is None else self._attempts.refusals
        if refusals is not None and refusals.again(now, *budget.fates()):
            rejoin = refusals.rejoin(verdict.wait, now, budget.random.random())
        else:
            # What its client sent again by itself is the request that was refused, and is of a moment ago.
            braked = budget.refused(verdict, permit, self.started if times <= 1 else now, repeated=times > 1)
            if braked.exhausted:
                return self._end_beyond_max_wait(error, verdict.wait)
            rejoin = braked.rejoin
        if not again or self._attempts is None or refusals is None:
            if plan.retry is not False:
                note_item(error, _ONLY_ONCE)
        elif refusals.too_long(rejoin, budget.max_wait):
            note_item(
                error, f"fanmap: not sent again: refused for max_wait={budget.max_wait!r} s while others were answered"
            )
        elif self._attempts.refused(error, now, rejoin) and not self._too_late(rejoin):
            if refusals.own:
                return self._stand_back(rejoin)
            return self._let_others_try(rejoin) if budget.refused_before(self.started) else self._back_off(rejoin)
        return self._end(None, error)

    def _stand_back(self, until: float) -> Word:
        """It is this item and nobody else that is refused: whoever has other items goes on with those."""
        return self._back_off(until)

    def _let_others_try(self, until: float) -> Word:
        """Nobody is answered: is it these items, or everybody? An item that was not sent yet will tell."""
        return self._back_off(until)

    def _back_off(self, until: float, value: Any = None) -> Word:
        """A call in back-off holds no slot."""
        self._release(value)
        now = self._asked = clock.now()
        self._phase, self._until = BACK_OFF, until
        self.delay = max(0.0, until - now)
        tally = self.tally
        tally.backing_off += 1
        tally.to_repeat += self.delay
        return WAIT

    def _back_from_back_off(self) -> Word:
        now = clock.now()
        if self._until > now:
            self.delay = self._until - now
            return WAIT
        self.tally.backing_off -= 1
        self._phase = NEW
        if telemetry.found is not None:
            telemetry.found.waited(self.plan.name, (("back-off", now - self._asked),))
        if self._attempts is not None and self._attempts.time_left(now) < 0:
            return self._give_up()
        return self._ask()

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
        note_item(error, f"fanmap: not sent again: {given_up(self.plan.budget.max_wait, wait, refused=refused)}")
        return self._end(None, error, stop=True)

    def _end(self, value: Any, error: BaseException | None, *, stop: bool = False) -> Word:
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


def _nobody() -> None:
    """Until a driver waits, there is nobody to wake."""
