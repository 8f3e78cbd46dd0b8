"""One call at a time: ask for admission, call, repeat, deliver the outcome.

A `Caller` is told what happened and answers what to do next; it never waits and never calls the user's
function. Threads and event loops drive the same object and differ in how they wait and in nothing else.

    phase     told                                      next      answers
    NEW       step: let through at once                 CALLING   CALL
    NEW       step: the gate too far, a total used up   IN_LINE   AGAIN
    NEW       step: others are first                    IN_LINE   WAIT
    NEW       step: what it costs can't be told         FAILED    AGAIN
    IN_LINE   step: let through                         CALLING   CALL
    IN_LINE   step: not yet                             IN_LINE   WAIT
    NEW, IN_LINE  step: the line was full               (ended)   what comes after an outcome
    IN_LINE   step: too late, gate too far, total gone  (ended)   what comes after an outcome
    CALLING   returned, raised: to be sent again        BACK_OFF  WAIT (a run's worker may part with it: its next item)
    CALLING   returned a stream                         CALLING   READ (a run's worker; a direct call: its end)
    CALLING   raised NotCalled                          NEW       as `step` of that
    CALLING   returned, raised: for good                (ended)   what comes after an outcome
    BACK_OFF  step: it is time                          as NEW
    BACK_OFF  step: not yet                             BACK_OFF  WAIT
    BACK_OFF  step: out of time                         (ended)   what comes after an outcome
    FAILED    step                                      (ended)   what comes after an outcome

What comes after an outcome: END for a call of its own, the next item (NEW) for a run's worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CoroutineType
from typing import Any, Final, Literal, cast

from fanmap._drive import clock, telemetry
from fanmap._drive.calls.entering import Entering
from fanmap._drive.calls.plan import BACK_OFF, END, FAILED, IN_LINE, NEW, WAIT, Word
from fanmap._drive.calls.reading import objects
from fanmap._drive.notices import log_refusal
from fanmap._errors import claims_thread, note_item
from fanmap._policy.failures.verdict import OUTAGES, Verdict
from fanmap._policy.limits.permit import Permit
from fanmap._policy.runs.attempt import Attempts
from fanmap._policy.streams import ordinary, stream_kind, telling
from fanmap._raw import is_a

_ONLY_ONCE: Final = (
    "fanmap: the server refused this call, and an awaitable cannot be sent again: decorate the `async def` with "
    "`parallel_map`, or give gather_bounded functions, for instance functools.partial(ask, prompt)"
)


class NotCalled(BaseException):
    """Told as raised by a call that was let through and has not been made: what it waited for outside took too long."""


class Caller(Entering):
    """The life of one item at a time."""

    __slots__ = ()

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
        if id(type(value)) not in ordinary:  # pyright: ignore[reportUnknownArgumentType]
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
        if type(error) is NotCalled:
            return self._not_called()
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

    def _not_called(self) -> Word:
        """It was let through, and not called: it asks anew, as if it had not begun."""
        self._uncount()
        self._release()
        self._phase = NEW
        if self._attempts is not None and self._attempts.time_left(clock.now()) < 0:
            return self._give_up()
        return self._ask()

    def _uncount(self) -> None:
        """The call that was let through has not been made."""
        self.tally.started -= 1
        self._calls -= 1
        if self._permit is not None:
            self._permit.started = False

    # Refused, and waiting to be sent again

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
        elif reason := refusals.too_long(rejoin, budget.max_wait, verdict.wait):
            note_item(error, f"fanmap: not sent again: {reason}")
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
