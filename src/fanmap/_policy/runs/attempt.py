"""One item's tries: again after a delay, or give up.

Pure: told the time and chance; the verdict on an exception comes from `signals`. tenacity's strategy
objects are asked here, with a call state whose times are ours: its engines keep state on shared objects
and cost 15 to 20 µs a call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import tenacity

from fanmap._policy.checks import check_answers, check_positive, is_finite
from fanmap._policy.failures.verdict import FATAL, OUTAGES, REFUSALS, Verdict
from fanmap._policy.runs.refusals import Refusals
from fanmap._public import public
from fanmap._raw import is_a, traceback_of

Strategy = Callable[[tenacity.RetryCallState], Any]

_BASE = 0.25  # seconds; the first repeat comes within twice that
_CAP = 60.0
_FAMILIES: Final = {"on": tenacity.retry_base, "wait": tenacity.wait.wait_base, "stop": tenacity.stop.stop_base}
_MENDABLE = OUTAGES | REFUSALS


@dataclass(frozen=True, slots=True)
class Retry:
    """What to repeat beyond what the server refused to start, how often, and for how long.

    Only failures that may have done something need this: what a server refused to start is sent again
    unasked. No credit and no permission stay final whatever `on` says: a repeat cannot mend them. A request
    the server calls wrong is final unless `on` names its failure.

    Args:
        attempts: calls an item at most, the first included; >= 1. Refused calls do not count. An item whose attempts
            run out while no call is answered is kept and tried again: it is not its fault.
        on: which failures, or results, to repeat: an exception class, a tuple of them, or a tenacity
            strategy (`retry_if_result(...)`, combined with `|` and `&`). None: connection errors, read
            timeouts, a `CallTimeout`, 408, 409, 498, and 5xx except 501, 505 and 511.
        wait: seconds before the next attempt: a number, or a tenacity wait strategy (combined with `+`).
            None: full jitter, uniform in 0 to min(60, 0.25 · 2^n) after the n-th attempt.
        stop: a tenacity stop strategy, asked besides `attempts` and `total`. None: only those.
        total: seconds from an item's first start after which no further attempt of it starts, whether it waited for
            its delay, a refusal's wait, a slot or a rate: it ends with its last failure; > 0.

    Raises:
        ValueError, TypeError: a setting out of its bounds, when it is made.

    Source: full jitter as in "Exponential backoff and jitter", AWS Architecture Blog, 2015.
    """

    attempts: int
    on: Strategy | None
    wait: Strategy | None
    stop: Strategy | None
    total: float

    @public
    def __init__(
        self,
        attempts: int = 4,
        *,
        on: Strategy | type[BaseException] | tuple[type[BaseException], ...] | None = None,
        wait: Strategy | float | None = None,
        stop: Strategy | None = None,
        total: float = 600.0,
    ) -> None:
        if isinstance(attempts, bool) or not isinstance(attempts, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _wrong("attempts", "an int >= 1", attempts)
        if attempts < 1:
            raise ValueError(f"attempts must be >= 1, got {attempts!r}")
        check_positive("total", total)
        if isinstance(on, (type, tuple)):
            for kind in cast("tuple[object, ...]", on if isinstance(on, tuple) else (on,)):
                if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                    raise _no_kinds(cast("object", on))
            on = tenacity.retry_if_exception(partial(is_a, kinds=on))
        if isinstance(wait, (int, float)) and not isinstance(wait, bool):
            if not (is_finite(wait) and wait >= 0):
                raise ValueError(f"wait must be >= 0 seconds or a tenacity wait strategy, got {wait!r}")
            wait = tenacity.wait_fixed(wait)
        if not _may_be("on", on):
            raise _no_kinds(on)
        if not _may_be("wait", wait):
            raise _wrong("wait", ">= 0 seconds or a tenacity wait strategy", wait)
        if not _may_be("stop", stop):
            raise _wrong("stop", "a tenacity stop strategy or None", stop)
        for name, strategy in (("on", on), ("wait", wait), ("stop", stop)):
            check_answers(name, strategy, "retry_state")
        for name, value in (
            ("attempts", attempts),
            ("on", on),
            ("wait", wait),
            ("stop", stop),
            ("total", total),
        ):
            object.__setattr__(self, name, value)


def _may_be(name: str, strategy: object) -> bool:
    """A function to ask, or None: no class, whose new instance would be a yes, and no strategy of another kind."""
    others = tuple(family for other, family in _FAMILIES.items() if other != name)
    return strategy is None or (callable(strategy) and not isinstance(strategy, (type, *others)))


def _no_kinds(on: object) -> TypeError:
    return _wrong("on", "an exception class, a tuple of them or a tenacity strategy", on)


def _wrong(name: str, rule: str, value: object) -> TypeError:
    from fanmap._hints import retries, values  # only where something is wrong

    hints = {"attempts": retries.attempts, "on": retries.on, "wait": values.seconds, "stop": retries.stop}
    line = retries.misplaced(name, value) or hints[name](value)
    return TypeError(f"{name} must be {rule}, got {value!r}{line}")


class Attempts:
    """The tries of one item that did not succeed at once.

    Attributes:
        count: calls that were not refused.
        over: a failure that a repeat might mend was the last for want of attempts or of time.
        last: what the item ends with where its next attempt cannot be made: its last failure, or tenacity's RetryError
            after a result that was not wanted. Leads back to whoever keeps it: let go of this object when it ends.
        refusals: of what the server refused to start.
    """

    __slots__ = ("_first_start", "_retry", "_state", "count", "last", "over", "refusals")

    def __init__(self, retry: Retry | None, first_start: float) -> None:
        self._retry = retry
        self._first_start = first_start
        self._state: tenacity.RetryCallState | None = None
        self.count = 0
        self.over = False
        self.last: Exception | None = None
        self.refusals = Refusals()

    def failed(
        self, error: BaseException, verdict: Verdict, now: float, chance: float, *, hidden: int = 0
    ) -> float | None:
        """Seconds until the next attempt, or None: this failure stands.

        `hidden` repeats of the client below, inside this one call, count as attempts.
        """
        self.count += 1 + hidden
        retry = self._retry
        if retry is None or verdict.kind in FATAL or not is_a(error, Exception):
            return None
        self.last = cast("Exception", error)
        if retry.on is not None or retry.wait is not None or retry.stop is not None:
            self._tell(now).set_exception((type(error), error, traceback_of(error)))
        wanted = verdict.kind in _MENDABLE if retry.on is None else bool(_answer("on", retry.on(self._tell(now))))
        delay = self._delay(now, chance) if wanted else None
        self.over = wanted and delay is None
        if delay is not None and verdict.wait is not None:
            return self._within_total(max(delay, verdict.wait), now)
        return delay

    def returned(self, value: object, now: float, chance: float) -> float | tenacity.RetryError | None:
        """None: the result stands. Seconds: ask again. RetryError: it was not wanted, and attempts ran out."""
        self.count += 1
        retry = self._retry
        if retry is None or retry.on is None:
            return None
        state = self._tell(now)
        state.set_result(value)
        if not _answer("on", retry.on(self._tell(now))):
            return None
        delay = self._delay(now, chance)
        assert state.outcome is not None
        unwanted = self.last = tenacity.RetryError(state.outcome)
        return unwanted if delay is None else delay

    def refused(self, error: Exception, now: float, rejoin: float) -> bool:
        """May a call that the server refused to start be sent again at `rejoin`? Bounded by `total`."""
        self.last = error
        return self._retry is None or self._within_total(rejoin - now, now) is not None

    def one_more(self, now: float) -> None:
        """Attempts ran out while nobody was answered at all: there is one more, from now on."""
        self.count -= 1
        self.over = False
        self._first_start = now

    def time_left(self, now: float) -> float:
        """Seconds in which another attempt may still start: no longer than `total` from the first; < 0: none may."""
        return math.inf if self._retry is None else self._first_start + self._retry.total - now

    def _delay(self, now: float, chance: float) -> float | None:
        retry = self._retry
        assert retry is not None
        if self.count >= retry.attempts:
            return None
        if retry.wait is None:
            delay = chance * min(_CAP, _BASE * 2.0 ** min(self.count, 16))
        else:
            delay = _seconds(_answer("wait", retry.wait(self._tell(now))))
            if not math.isfinite(delay) or delay < 0:
                delay = 0.0
        if retry.stop is not None:
            state = self._tell(now)
            state.upcoming_sleep = delay
            if _answer("stop", retry.stop(state)):
                return None
        return self._within_total(delay, now)

    def _within_total(self, delay: float, now: float) -> float | None:
        retry = self._retry
        assert retry is not None
        return delay if now + delay <= self._first_start + retry.total else None

    def _tell(self, now: float) -> tenacity.RetryCallState:
        """tenacity's view of this item: its attempts that were not refused, on our clock.

        Asked anew before each strategy, because telling it an outcome sets a time of its own clock.
        """
        state = self._state
        if state is None:
            # Neither the engine nor the call's arguments: strategies see outcomes and times.
            state = self._state = tenacity.RetryCallState(None, None, (), {})  # type: ignore[arg-type]
            state.start_time = self._first_start
        state.attempt_number = self.count
        state.outcome_timestamp = now
        return state


def _seconds(said: Any) -> float:
    try:
        return float(said)
    except (TypeError, ValueError):
        raise TypeError(f"wait must answer with a number of seconds, got {said!r}") from None


def _answer(name: str, said: Any) -> Any:
    """What a strategy says; one around an `async def` says a coroutine, which would be a yes."""
    if isinstance(said, Coroutine):
        cast("Coroutine[Any, Any, Any]", said).close()  # or Python warns that nobody awaited it
        raise TypeError(f"{name} must answer when it is called: nobody would await the coroutine that it returned")
    return said
