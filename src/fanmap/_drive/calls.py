"""One call at a time: ask for admission, call, repeat, hand in the outcome.

A `Caller` is told what happened and answers what to do next; it never waits and never calls the user's
function. Threads and event loops drive the same object and differ in how they wait and in nothing else.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CoroutineType, FrameType
from typing import Any, Final, Literal

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.budget import Budget, Scope, Seat, current_scope, enclosing, still_open
from fanmap._drive.notices import classified, tell_of_client_retries
from fanmap._errors import CallTimeout, NotRun, note_item
from fanmap._policy.attempt import Attempts, Retry
from fanmap._policy.connections import is_of_another_loop
from fanmap._policy.signals import OUTAGES, Verdict, client_retries, read_error
from fanmap._types import Tally, Wait


class Todo:
    """What a driver does next."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @override
    def __repr__(self) -> str:
        return self.name


CALL: Final = Todo("CALL")  # call `caller.call(caller.item)` and tell `returned` or `raised`
WAIT: Final = Todo("WAIT")  # wait until woken, `caller.delay` seconds at most (None: no bound), then `step`
AGAIN: Final = Todo("AGAIN")  # `step` at once
END: Final = Todo("END")  # nothing more to do

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How items become calls: settings of one run or of one function, shared and never changed.

    Attributes:
        name: of the function, for notes and messages.
        call: takes an item and calls the user's function with it.
        arguments: an item's args and kwargs, for the rates' costs; None: nobody knows, and each costs 1.
        budget: what every call runs under.
        retry: what to repeat beyond refusals; None: nothing; False: not even those.
        repeatable: can this item be called again at all? (An awaitable can't.) None: every one can.
        spare: is the slot for the first call under the same Limits inside an item to take over?
        plain: the function is a `def`: a coroutine that it returns is a mistake, nobody would await it.
        discard: what becomes of an item that is never called; None: nothing.
    """

    name: str
    call: Callable[[Any], Any]
    arguments: Callable[[Any], Arguments] | None
    budget: Budget
    retry: Retry | Literal[False] | None = None
    repeatable: Callable[[Any], bool] | None = None
    spare: bool = False
    plain: bool = False
    discard: Callable[[Any], None] | None = None


_OTHER_LOOP = (
    "fanmap: an async client belongs to the event loop it first ran on, and `.map` of an async function has a loop "
    "of its own: use `.map` everywhere or `await .amap` everywhere"
)
_ONLY_ONCE = (
    "fanmap: the server refused to start this, and an awaitable cannot be sent again: decorate the `async def` with "
    "`parallel_map`, or give gather_bounded functions, for instance functools.partial(ask, prompt)"
)
NEW, IN_LINE, CALLING, BACK_OFF, DOOMED, DONE = range(6)  # phases of an item


class Caller:
    """The life of one item at a time.

    Attributes:
        item: what `plan.call` is called with.
        delay: seconds to wait at most, after WAIT.
        wake: wakes whoever drives this caller; any thread may call it.
        owner: the thread whose event loop makes the calls; None: threads that nobody else needs.
        tally: what this caller's one thread counts.
    """

    __slots__ = (
        "_asked", "_attempts", "_calls", "_doom", "_outer", "_phase", "_refusals", "_scope", "_seat", "_until",
        "delay", "item", "owner", "plan", "queued", "started", "tally", "wake",
    )  # fmt: skip

    def __init__(self, plan: Plan, outer: Scope | None, owner: int | None, tally_key: object) -> None:
        self.plan = plan
        self.tally = plan.budget.tally_of(tally_key)
        self.wake: Callable[[], None] = _nobody
        self.owner = owner
        self.item: Any = None
        self.delay: float | None = None
        self.queued = 0.0
        self.started = 0.0
        self._outer = outer
        self._phase = NEW
        self._seat: Seat | None = None
        self._scope: Scope | None = None
        self._attempts: Attempts | None = None
        self._calls = 0
        self._refusals = 0
        self._doom: Exception | None = None  # instead of a first call
        self._until = 0.0
        self._asked = 0.0

    # What the driver tells

    def step(self) -> Todo:
        """Go on: at the start, when woken, and when the delay is over."""
        phase = self._phase
        if phase == IN_LINE:
            seat = self._seat
            assert seat is not None
            budget = self.plan.budget
            granted = seat.granted or budget.look(seat)
            if self._attempts is not None and self._attempts.time_left(clock.now()) < 0:
                return self._give_up()
            if granted:
                return self._begin(seat, clock.now())
            if budget.hopeless() is not None:
                return self._despair()
            return self._wait_in_line(seat)
        if phase == BACK_OFF:
            now = clock.now()
            if self._until > now:
                self.delay = self._until - now
                return WAIT
            self.tally.backing_off -= 1
            self._phase = NEW
            if self._attempts is not None and self._attempts.time_left(now) < 0:
                return self._give_up()
            return self._ask()
        if phase == DOOMED:
            doom, self._doom = self._doom, None
            return self._settle_and_deliver(None, doom)
        return END

    def returned(self, value: Any) -> Todo:
        """The function returned."""
        plan = self.plan
        if plan.plain and type(value) is CoroutineType:
            value.close()
            return self._settle_and_deliver(
                None,
                TypeError(f"{plan.name} returned a coroutine: decorate the `async def` itself, or await it inside"),
            )
        budget = plan.budget
        if not budget.admission.steady and self._seat is not None:
            budget.answered(self._seat, self.started)
        retry = plan.retry
        if retry and retry.on is not None and self._repeatable():
            now = clock.now()
            verdict = self._count().returned(value, now, budget.random.random())
            if verdict is not None:
                if not isinstance(verdict, Exception) and not self._too_late(now + verdict):
                    return self._back_off(now + verdict, value)
                return self._give_up(value)
        return self._settle_and_deliver(value, None)

    def raised(self, error: BaseException) -> Todo:
        """The function raised."""
        plan, now = self.plan, clock.now()
        budget, started = plan.budget, self.started
        if not isinstance(error, Exception):
            return self._settle_and_deliver(None, error)
        seat = self._seat
        assert seat is not None
        if plan.plain and type(error) is CallTimeout:
            self.tally.abandoned += 1
        verdict, hidden = self._read(error)
        if verdict.refused_to_start:
            self._refusals += 1 + hidden
            self.tally.refused += 1 + hidden
            braked = budget.refused(verdict, seat, started)
            if braked.exhausted:
                return self._settle_and_deliver(None, error, stop=True)
            if plan.retry is not False and self._repeatable():
                attempts = self._attempts or Attempts(plan.retry or None, started)
                self._attempts = attempts
                if attempts.refused(error, now, braked.rejoin) and not self._too_late(braked.rejoin):
                    return self._back_off(braked.rejoin)
            elif plan.retry is not False:
                note_item(error, _ONLY_ONCE)
            return self._settle_and_deliver(None, error)
        if verdict.kind == "wrong" and verdict.wait is not None:
            # x-should-retry: false. This item is not sent again, and the wait is everybody's.
            return self._settle_and_deliver(None, error, stop=budget.refused(verdict, seat, started).exhausted)
        if verdict.kind == "spent" or (verdict.kind == "refused" and budget.denied()):
            return self._settle_and_deliver(None, error, stop=True)
        if plan.retry and self._repeatable():
            if verdict.kind in OUTAGES:
                budget.failed(seat)
            delay = self._count().failed(error, verdict, now, budget.random.random(), hidden=hidden)
            if delay is not None and not self._too_late(now + delay):
                return self._back_off(now + delay)
        return self._settle_and_deliver(None, error)

    def waiting_for(self) -> Wait | None:
        """What its item waits for; None: it does not. From any thread."""
        phase, seat = self._phase, self._seat
        slotted = seat is not None and (seat.slotted > 0.0 or seat.lender is not None)
        if phase == BACK_OFF or (phase == IN_LINE and slotted):
            if self.plan.budget.admission.opens_at() > clock.now():
                return "gate"
            return "rate" if phase == IN_LINE else "repeat"
        return "slot" if phase == IN_LINE else None

    def attach(self, wake: Callable[[], None]) -> None:
        """Somebody is about to wait: from now on this wakes them; `step` once more before waiting."""
        self.wake = wake
        if self._seat is not None:
            self._seat.wake = wake

    @property
    def attached(self) -> bool:
        """Does somebody drive it already?"""
        return self.wake is not _nobody

    def quit(self) -> None:
        """Out of everything, whatever the state; idempotent."""
        if self._phase == BACK_OFF:
            self.tally.backing_off -= 1
        self._phase = DONE
        self._attempts = None
        try:
            self._release()
        finally:
            self._release()  # Ctrl-C between two bytecodes: leaving twice is leaving once

    # What becomes of an item; a run's worker does otherwise

    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Todo:
        raise NotImplementedError

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

    # Inside

    def _start_item(self) -> Todo:
        """A new item is in hand: ask for its admission, or keep the slot where nobody minds."""
        self._attempts = None
        self._calls = self._refusals = 0
        seat = self._seat
        if seat is not None:
            if self.plan.budget.admission.quiet and seat.lent_to is None:
                return self._begin(seat, clock.now())  # `queued` may be long ago: read ahead
            self._release()
        return self._ask()

    def _ask(self) -> Todo:
        plan = self.plan
        budget = plan.budget
        around = None if self._outer is None else enclosing(self._outer, budget)
        try:
            costs = self._costs() if budget.rates else None
        except Exception as error:
            # Through the driver's loop, not by a call from here: a thousand such items would recurse.
            self._phase, self._doom = DOOMED, error
            return AGAIN
        seat: Seat | None = None
        if around is not None and around.spare:
            seat = self._seat = budget.take_over(around, costs, self.wake, self.owner)
        self._phase = IN_LINE
        self._asked = clock.now()
        if seat is None:
            seat = self._seat = Seat(self.wake, costs, None if around is None else around.ticket, self.owner)
            budget.join(seat, around)
        if seat.granted:
            return self._begin(seat, clock.now())
        # The first in line would wait for the gate, however far away that is.
        return self._wait_in_line(seat) if budget.hopeless() is None else AGAIN

    def _wait_in_line(self, seat: Seat) -> Todo:
        self.delay = self.plan.budget.patience(seat)
        if self._attempts is not None:
            left = self._attempts.time_left(clock.now())
            if left < math.inf:
                self.delay = left if self.delay is None else min(self.delay, left)
        return WAIT

    def _give_up(self, value: Any = None) -> Todo:
        """There will be no further attempt: the item ends with what its last one came to."""
        self._release(value)
        assert self._attempts is not None
        return self._settle_and_deliver(None, self._attempts.last)

    def _despair(self) -> Todo:
        """The server has told somebody to wait for longer than anybody here wants to."""
        budget = self.plan.budget
        self._release()
        reason = (
            f"the server has asked for {budget.hopeless() or 0.0:.1f} s more, longer than max_wait={budget.max_wait!r}"
        )
        failure = None if self._attempts is None else self._attempts.last
        if failure is None:
            failure = NotRun(reason)
            # Not the refusal itself: its traceback would keep another run alive for as long as the gate is closed.
            failure.__cause__ = TimeoutError(reason)
        else:  # it has been run
            note_item(failure, f"fanmap: not sent again: {reason}")
        try:
            return self._settle_and_deliver(None, failure, stop=True)
        finally:
            del failure

    def _begin(self, seat: Seat, now: float) -> Todo:
        plan, tally = self.plan, self.tally
        scope = self._scope = Scope(plan.budget, seat, self._outer, plan.spare)
        current_scope.set(scope)
        tally.started += 1
        if self._phase == IN_LINE:
            seat.started = True
            self._count_wait(tally, seat, now)
        self.started = now
        self._calls += 1
        self._phase = CALLING
        return CALL

    def _count_wait(self, tally: Tally, seat: Seat, now: float) -> None:
        slotted = max(seat.slotted, self._asked)
        tally.for_slot += slotted - self._asked
        at_gate = max(0.0, min(self.plan.budget.admission.opens_at(), now) - slotted)
        tally.at_gate += at_gate
        tally.for_rate += max(0.0, now - slotted - at_gate)

    def _back_off(self, until: float, value: Any = None) -> Todo:
        """A call in back-off holds no slot."""
        self._release(value)
        now = clock.now()
        self._phase, self._until = BACK_OFF, until
        self.delay = max(0.0, until - now)
        tally = self.tally
        tally.backing_off += 1
        tally.to_repeat += self.delay
        return WAIT

    def _settle_and_deliver(self, value: Any, error: BaseException | None, *, stop: bool = False) -> Todo:
        tally = self.tally
        tally.done += 1
        if error is not None:
            tally.failed += 1
        self._attempts = None
        seat, scope = self._seat, self._scope
        if seat is not None and (
            seat.grants or not self.plan.budget.admission.quiet or (scope is not None and not self._keeps(scope))
        ):
            self._release(value if error is None else None)
        elif scope is not None:
            scope.ticket = self._scope = None
        return self._deliver(value, error, stop=stop)

    def _release(self, value: Any = None) -> None:
        """Give the slot back, unless the first call inside has taken it; once more, if Ctrl-C came between."""
        scope, seat = self._scope, self._seat
        if seat is not None and (scope is None or self._keeps(scope)):
            self.plan.budget.leave(seat, self._took(value) if value is not None and seat.grants else None)
        if scope is not None:
            scope.ticket = None
        self._scope = self._seat = None

    def _keeps(self, scope: Scope) -> bool:
        """Is the slot still this call's, now that it is over?"""
        return not scope.spare or self.plan.budget.keep(scope)

    def _read(self, error: Exception) -> tuple[Verdict, int]:
        """What the exception says, to the user's own reading first, and how often the client below tried again."""
        plan = self.plan
        hidden = client_retries(error)
        if hidden:
            self._calls += hidden
            self.tally.started += hidden
            if plan.budget.tell_once():
                tell_of_client_retries(plan.name)
        if is_of_another_loop(error):
            note_item(error, _OTHER_LOOP)
        verdict = None if plan.budget.classify is None else classified(plan.budget.classify, error)
        return verdict or read_error(error, wall=clock.wall()), hidden

    def _repeatable(self) -> bool:
        repeatable = self.plan.repeatable
        return repeatable is None or repeatable(self.item)

    def _count(self) -> Attempts:
        attempts = self._attempts
        if attempts is None:
            attempts = self._attempts = Attempts(self.plan.retry or None, self.started)
        return attempts

    def _costs(self) -> Sequence[float] | None:
        """What this call takes of each rate; None: 1 of each."""
        rates, arguments = self.plan.budget.rates, self.plan.arguments
        if arguments is None or all(rate.cost is None for rate in rates):
            return None
        args, kwargs = arguments(self.item)
        return [1.0 if rate.cost is None else rate.check_cost(rate.cost(*args, **kwargs)) for rate in rates]

    def _took(self, value: Any) -> Sequence[float | None]:
        """What the reply says it took; None where it does not tell (the estimate stands)."""
        took: list[float | None] = []
        for rate in self.plan.budget.rates:
            used: float | None = None
            if rate.usage is not None:
                try:
                    said: Any = rate.usage(value)
                    if math.isfinite(said) and said >= 0:
                        used = float(said)
                except Exception:  # a paid answer is worth more than its accounting
                    used = None
            took.append(used)
        return took


class Single(Caller):
    """One direct call: its outcome stays here."""

    __slots__ = ("_args", "_kwargs", "error", "value")

    def __init__(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], owner: int | None) -> None:
        super().__init__(plan, current_scope.get(), owner, threading.get_ident())
        self.item = (args, kwargs)
        self.value: Any = None
        self.error: BaseException | None = None

    @override
    def step(self) -> Todo:
        return self._ask() if self._phase == NEW else super().step()

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Todo:
        if isinstance(error, StopIteration):
            error = as_in_generator(self.plan.name, error)
        self.value, self.error = value, error
        self.quit()
        return END

    @override
    def quit(self) -> None:
        super().quit()
        current_scope.set(self._outer)  # also where it was cancelled in its back-off

    def result(self) -> Any:
        """What the call returned; raises what it raised."""
        error = self.error
        if error is None:
            return self.value
        try:
            raise error
        finally:
            self.error = None
            del error


class Block(Caller):
    """A `with limits:` block: admitted like a call, charged one unit of each rate, called by nobody.

    It may be left in another context or thread than it was entered in, as fixtures and frameworks do.

    Attributes:
        frame: the code whose block it is; None: nobody knows, or the block is over.
    """

    __slots__ = ("_inside", "frame")

    def __init__(self, plan: Plan, owner: int | None, frame: FrameType | None) -> None:
        super().__init__(plan, still_open(current_scope.get()), owner, threading.get_ident())
        self.frame = frame
        self._inside: Scope | None = None

    @override
    def step(self) -> Todo:
        return self._ask() if self._phase == NEW else super().step()

    @override
    def _costs(self) -> Sequence[float] | None:
        return None

    @override
    def _begin(self, seat: Seat, now: float) -> Todo:
        todo = super()._begin(seat, now)
        self._inside = self._scope
        return todo

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Todo:
        begun = self._inside is not None
        self.quit()
        if error is not None and not begun:
            raise error  # its body does not run
        return END

    @override
    def quit(self) -> None:
        super().quit()
        self.frame = None
        inside, self._inside = self._inside, None
        if inside is not None and current_scope.get() is inside:  # another context's is not ours to change
            current_scope.set(self._outer)

    def leave(self, error: BaseException | None) -> None:
        """The block is over; a refusal that came out of it brakes everybody."""
        self.tally = self.plan.budget.tally_of(threading.get_ident())
        if error is None:
            self.returned(None)
        else:
            self.raised(error)


def _nobody() -> None:
    """Until a driver waits, there is nobody to wake."""


def as_in_generator(name: str, error: BaseException) -> RuntimeError:
    """What stands for an exception that would pass for the end of somebody's iteration (PEP 479)."""
    stopped = RuntimeError(f"{name} raised {type(error).__name__}")
    stopped.__cause__ = error
    return stopped


def direct_arguments(item: Any) -> Arguments:
    """The arguments of a direct call, whose item they are."""
    return item  # type: ignore[no-any-return]
