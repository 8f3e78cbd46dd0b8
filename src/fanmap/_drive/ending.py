"""What a run ends with: an exception to raise, or outcomes for what never had one.

Nothing here keeps an exception that it raises: its traceback leads back to the run (a reference cycle).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NoReturn

from fanmap._drive.notices import tell_of_broken_journal
from fanmap._errors import DeadlineExceeded, NotRun, Stopped, attach_partial, note_item
from fanmap._policy.order import Order

Begun = tuple[int, float, float]
"""attempts, queued, started: of an item that has no outcome yet, as an Outcome has them."""


class Ending:
    """Why a run stops, and what becomes of its exceptions.

    Args:
        name: of the function, for notes.
        lock: of the run; `remember` takes it.
        order: its books.
        total: inputs, where they are known: those never taken get an outcome too.
        seconds: of the deadline, for messages.
        keep_failures: stand failures in their item's place instead of raising.

    Attributes:
        positions: what an item's index is to the user; None: the same.
        input_error: the input's own exception.
        interrupt: KeyboardInterrupt or SystemExit that came out of an item.
        broken: why results could no longer be kept.
    """

    def __init__(
        self,
        name: str,
        lock: threading.Lock,
        order: Order,
        *,
        total: int | None,
        seconds: float | None,
        keep_failures: bool,
    ) -> None:
        self.keep_failures = keep_failures
        self.positions: Sequence[int] | None = None
        self.input_error: BaseException | None = None
        self.interrupt: BaseException | None = None
        self.broken: Exception | None = None
        self._name = name
        self._lock = lock
        self._order = order
        self._total = total
        self._seconds = seconds
        self._reason: BaseException | None = None
        self._begun: Mapping[int, Begun] = {}
        self._cut: BaseException | None = None
        self._remembered = False

    def because(self, reason: BaseException | None, begun: Mapping[int, Begun]) -> None:
        """The run stops; items of these indices had begun and have not ended."""
        self._reason, self._begun = reason, begun

    def cut_short(self, reason: BaseException | None) -> None:
        """A run that had stopped and waited for what had begun no longer does."""
        self._cut = reason

    def deadline(self) -> DeadlineExceeded:
        """The reason that a run has which took too long."""
        return DeadlineExceeded(f"the run of {self._name} took longer than {self._seconds} s")

    def leave(self) -> None:
        """The consumer leaves early: it never came to what the input had raised by itself."""
        self.input_error = None

    def closed(self) -> None:
        """Everything has ended after that: raise what the input raised on being closed."""
        error, self.input_error = self.input_error, None
        try:
            if error is not None:
                raise error
        finally:
            del error

    def conclude(self, now: float) -> None:
        """Raise what the run ends with, or stand it in the place of every item without an outcome."""
        order = self._order
        failure, order.failure = order.failure, None
        interrupt, self.interrupt = self.interrupt, None
        reason, self._reason = self._reason, None
        cut, self._cut = self._cut or reason, None
        input_error, self.input_error = self.input_error, None
        broken, self.broken = self.broken, None
        try:
            if interrupt is not None:
                self._raise(interrupt)
            if failure is not None:
                self.remember(failure[1])
                self.blame(*failure)
            if reason is not None:
                late = isinstance(reason, DeadlineExceeded)
                if not self.keep_failures and (late or (broken is not None and reason is broken)):
                    self._raise(reason)
                if broken is not None:  # where failures stand in their places, nothing else says it
                    tell_of_broken_journal(broken)
                if self.keep_failures or not isinstance(reason, Stopped):
                    self._fill(reason, cut or reason, now)
            if input_error is not None:
                self._raise(input_error)
        finally:
            del failure, interrupt, reason, cut, input_error, broken

    def blame(self, index: int, error: BaseException) -> NoReturn:
        """Raise an item's failure, with a note that names the item.

        What had finished is remembered when the run has ended: others may finish on the way there.
        """
        position = index if self.positions is None else self.positions[index]
        note_item(error, f"fanmap: item {position} of {self._name}")
        try:
            raise error
        finally:
            del error

    def remember(self, error: BaseException) -> None:
        """The run ends with this exception: attach what had finished, and let go of it. Once a run."""
        with self._lock:
            if self._remembered:
                return
            self._remembered = True
            finished = self._order.finished()
            self._order.forget()
        attach_partial(error, finished)

    def _raise(self, error: BaseException) -> NoReturn:
        self.remember(error)
        try:
            raise error
        finally:
            del error

    def _fill(self, reason: BaseException, cut: BaseException, now: float) -> None:
        """Every item that has no outcome gets one: a sized input to its end, of an iterator what was taken.

        One that had begun was not stopped by `reason`, but cut short: only a deadline does that, and goes on.
        """
        order = self._order
        for _ in range(order.taken, self._total or 0):
            order.take()
        for index in order.missing():
            begun = self._begun.get(index)
            if begun is None:
                by = "stop()" if isinstance(reason, Stopped) else type(reason).__name__
                error: Exception = NotRun(f"the run was stopped by {by} before this item started")
                if not isinstance(reason, Stopped):
                    error.__cause__ = reason
                order.end((index, None, error, 0, now, now, now))
            else:
                error = DeadlineExceeded(f"{self._seconds} s were over before the item's end")
                error.__cause__ = cut
                order.end((index, None, error, *begun, now))
