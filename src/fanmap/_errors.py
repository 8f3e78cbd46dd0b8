"""What fanmap itself raises.

No text here ever carries a prompt, a reply or a key: settings are shown, users' data is named by
type and index.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from fanmap import _raw
from fanmap._batch_types import BatchInfo
from fanmap._usage import in_dollars

_LEFT_BEHIND: Final = "__fanmap_left_behind__"

ENDS: Final = (StopIteration, StopAsyncIteration)  # each would pass for the end of somebody's iteration


def as_in_generator(name: str, error: BaseException) -> RuntimeError:
    """What stands for an exception that would pass for the end of somebody's iteration (PEP 479)."""
    stopped = RuntimeError(f"{name} raised {_raw.type_name(error)}")
    stopped.__cause__ = error
    return stopped


class CallTimeout(TimeoutError):
    """Raised when one attempt of a call took longer than `timeout=` seconds; queueing does not count.

    The call may have done its work: it is repeated only where `retry=Retry(...)` asks for it. A thread
    cannot be killed: the one that ran a `def` function is left behind and its result is dropped.
    """


def left_behind(seconds: float) -> CallTimeout:
    """A `def` was late, and so its thread is left behind."""
    late = CallTimeout(f"a call took longer than {seconds} s")
    _raw.carry(late, _LEFT_BEHIND, True)
    return late


def claims_thread(error: BaseException) -> bool:
    """Does this exception stand for a thread that was left behind, and that nobody has counted yet?

    Once: a call that passes on what came out of a call inside it has left none behind itself.
    """
    claimed = type(error) is CallTimeout and _raw.carried(error, _LEFT_BEHIND) is True
    if claimed:
        _raw.carry(error, _LEFT_BEHIND, False)
    return claimed


class DeadlineExceeded(TimeoutError):
    """Raised when a run took longer than `deadline=` seconds; `partial_results` has what finished."""


class NotRun(Exception):
    """Stands for an item that never started because its run was stopped; `__cause__` is the reason (with
    `max_failures=` a `TooManyFailures`), none where `stop()` was called.

    One that had been run ends with its own last failure instead, or with `DeadlineExceeded` where a deadline cut it.
    Raised where the server has asked for a longer wait than `max_wait`: by a call, and by a `with limits:` block.
    """


class TooManyFailures(Exception):
    """Why a run was stopped by `max_failures=`: never raised, but the `__cause__` of every `NotRun` that it left.

    Attributes:
        failures: items that had failed by then.
        kinds: how many of each type, by the name of the exception's type.
    """

    def __init__(self, failures: int, kinds: Mapping[str, int]) -> None:
        super().__init__(failures, kinds)  # as arguments, so that it can be pickled
        self.failures = failures
        self.kinds: Mapping[str, int] = kinds

    def __str__(self) -> str:
        kinds = sorted(self.kinds.items(), key=lambda kind: -kind[1])
        items = "1 item" if self.failures == 1 else f"{self.failures} items"
        return f"{items} failed: {', '.join(f'{count} {kind}' for kind, count in kinds)}"


class Busy(Exception):
    """Raised when as many calls as `max_waiting` allows wait for a slot already, by one that would have to wait, too:
    a direct call, a `with` block, or the first call of a run, which then ends with it. Nothing was called.

    Attributes:
        retry_after: seconds until there is room for one more, as estimated from what calls took so far.
        waiting: calls that waited for a slot.
    """

    def __init__(self, retry_after: float, waiting: int) -> None:
        super().__init__(retry_after, waiting)  # as arguments, so that it can be pickled
        self.retry_after = retry_after
        self.waiting = waiting

    def __str__(self) -> str:
        calls = {0: "no call may wait", 1: "one call is waiting"}.get(self.waiting, f"{self.waiting} calls are waiting")
        return f"all slots are taken and {calls}: try again in {self.retry_after:.3g} s"


class BudgetExceeded(Exception):
    """Raised when a total is used up, dollars (`max_spend=`) or units (`Rate(amount, per=math.inf)`).

    Nothing more was started; calls under way ended, and `partial_results` has what finished, as has the journal of
    `resume=`. The same run under a larger amount goes on. With `return_exceptions=True` it is the `__cause__` of the
    `NotRun` that stands for each item that never started.

    Attributes:
        amount: of the total.
        spent: of it, by calls that have ended; one that did not tell what it took, at its estimate; and what is
            reserved.
        reserved: dollars of that which batches under way may cost at most, until they are collected.
    """

    def __init__(self, amount: float, spent: float, *, dollars: bool, reserved: float = 0.0) -> None:
        super().__init__(amount, spent, dollars, reserved)
        self.amount: float = amount
        self.spent: float = spent
        self.reserved: float = reserved
        self._dollars = dollars
        self._now: Callable[[], float] | None = None

    def follow(self, now: Callable[[], float]) -> Self:
        """Calls are under way: what is spent once they have ended, this will say."""
        self._now = now
        return self

    def settle(self) -> None:
        """They have ended."""
        now, self._now = self._now, None
        if now is not None:
            self.spent = now()
            super().__init__(self.amount, self.spent, self._dollars, self.reserved)

    def __reduce__(self) -> Any:
        return _budget_exceeded, (self.amount, self.spent, self._dollars, self.reserved)

    def __str__(self) -> str:
        if self._dollars:
            gone = "spent or reserved for batches under way" if self.reserved else "spent"
            return f"max_spend={self.amount!r}: {in_dollars(self.spent)} {gone}, and one more call would exceed it"
        return f"Rate({self.amount!r}, per=math.inf): {self.spent:g} used, and one more call would exceed it"


def _budget_exceeded(amount: float, spent: float, dollars: bool, reserved: float) -> BudgetExceeded:
    return BudgetExceeded(amount, spent, dollars=dollars, reserved=reserved)


class Stopped(Exception):
    """Never raised to anybody: why a run stops that was told to by `stop()`, and why a stream is read no further."""


class BridgeError(RuntimeError):
    """Raised instead of a deadlock: a call waits for what goes on only when the call has ended.

    A blocking one for the loop that it blocks; any for the slots of streams that the code around it reads; and any
    that would wait in a finalizer at the interpreter's exit, where no other thread runs any more.
    """


def check_exit() -> None:
    """BridgeError where the interpreter has come so far in its exit that no other thread runs any more."""
    if sys.is_finalizing():
        raise BridgeError(
            "Python is exiting: no thread or event loop runs any more that could be waited for. "
            "Do it before the exit, or in a function given to atexit.register"
        )


class SharedUnavailable(ConnectionError):
    """Raised where the store of a shared Limits has been away for longer than `max_wait`, or was never reached.

    Calls under way have ended or are ending; nothing was started without the others' knowledge. A call and a run raise
    it; with `return_exceptions=True` it is the cause of `NotRun`.
    """


class JournalError(OSError):
    """Raised when the file given as `resume=` cannot be used, can no longer be written, or is no longer there.

    Nothing has been called yet, or: nothing more was started, calls under way ended, `partial_results` has what
    finished and every result that was written is still in the file, unless somebody has deleted or replaced that.
    `__cause__` is the system's own error, where there is one.
    """


class BatchError(Exception):
    """Raised when a batch job cannot go on: its text has the provider's words, or what to change in the function.

    What was answered is in the file of `resume`, and what is under way stays so: the same call goes on.
    """


class BatchPending(Exception):
    """Raised when `wait` seconds are over and batches are still under way; the same call goes on.

    Attributes:
        done: items that have their result.
        total: items.
        batches: what is under way, as `fanmap.types.BatchInfo`.
    """

    def __init__(self, done: int, total: int, batches: tuple[BatchInfo, ...]) -> None:
        super().__init__(done, total, batches)  # as arguments, so that it can be pickled
        self.done = done
        self.total = total
        self.batches = batches

    def __str__(self) -> str:
        return (
            f"{self.done} of {self.total} items done, batches in progress: {len(self.batches)}; call again to continue"
        )


note_item = _raw.note
