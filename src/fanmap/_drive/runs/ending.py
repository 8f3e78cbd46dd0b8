"""What a run ends with: an exception to raise, or outcomes for what never had one.

Nothing here keeps an exception that it raises: its traceback leads back to the run (a reference cycle).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fanmap._drive.calls.reading import surviving
from fanmap._drive.notices import warn_of_broken_journal, warn_of_unread_input
from fanmap._errors import (
    ENDS,
    BudgetExceeded,
    DeadlineExceeded,
    JournalError,
    NotRun,
    Stopped,
    as_in_generator,
    note_item,
)
from fanmap._partial import attach_partial
from fanmap._policy.runs.flow import Flow
from fanmap._public import from_the_failing_frame
from fanmap._raw import is_a, type_name


class Ending:
    """What becomes of the exceptions of a run.

    Args:
        name: of the function, for notes.
        flow: of the run: why it was stopped, and what has ended.
        total: inputs, where they are known: those never taken get an outcome too.
        seconds: of the deadline, for messages.
        keep_failures: stand failures in their item's place instead of raising.

    Attributes:
        positions: what an item's index is to the user; None: the same.
        input_error: the input's own exception.
        interrupt: KeyboardInterrupt or SystemExit that came out of an item.
        broken: why results could no longer be kept.
        outside: what to raise where the run was stopped for a reason that none of its items had.
        kept_note: what the exception is to say of the journal, told how many results there are; None: there is none.
    """

    def __init__(
        self, name: str, flow: Flow[Any], *, total: int | None, seconds: float | None, keep_failures: bool
    ) -> None:
        self.keep_failures = keep_failures
        self.positions: Sequence[int] | None = None
        self.input_error: BaseException | None = None
        self.interrupt: BaseException | None = None
        self.broken: Exception | None = None
        self.outside: Exception | None = None
        self.kept_note: Callable[[int], str | None] | None = None
        self._hint: str | None = None  # None: no item has failed yet; empty: there is nothing to say, or it was said
        self._name = name
        self._flow = flow
        self._total = total
        self._seconds = seconds
        self._unattached: list[None] = [None]  # until an exception has the partial results
        self._finished: dict[int, Any] | None = None  # once the run is over

    def ignore_input_error(self) -> None:
        """The reader leaves early: it never came to what the input had raised by itself."""
        self.input_error = None

    def raise_close_error(self) -> None:
        """Everything has ended after that: raise what the input raised on being closed."""
        error, self.input_error = self.input_error, None
        try:
            if error is not None:
                raise error
        finally:
            del error

    def finalize(self, now: float) -> None:
        """Raise what the run ends with, or stand it in the place of every item without an outcome."""
        flow = self._flow
        lost = flow.unaccounted()
        failure, flow.results.failure = flow.results.failure, None
        if failure is not None and failure[0] < flow.results.handed:
            failure = None  # another reader has it, and raises it
        interrupt, self.interrupt = self.interrupt, None
        reason, flow.reason = flow.reason, None
        cut, flow.cut = reason if flow.cut is None else flow.cut, None
        input_error, self.input_error = self.input_error, None
        broken, self.broken = self.broken, None
        outside, self.outside = self.outside, None
        try:
            if interrupt is not None:
                self._raise(interrupt)
            if failure is not None:
                self.note(*failure)
                self.attach_partial_results(failure[1])
                self.raise_item_error(*failure)
            if reason is not None:
                _settle(outside, reason)
                raises = is_a(reason, DeadlineExceeded) or reason is broken
                if raises and not self.keep_failures:
                    self._raise(reason)
                if outside is not None and not self.keep_failures and not is_a(reason, Stopped):
                    self._raise(outside)
                if broken is not None:  # where failures stand in their places, nothing else says it
                    warn_of_broken_journal(broken)
                if self.keep_failures or not is_a(reason, Stopped):
                    self._fill(reason, reason if cut is None else cut, now)
                unread = self._total is None and not flow.inputs.over
                if unread and not is_a(reason, (Stopped, DeadlineExceeded)):
                    warn_of_unread_input(self._name, reason)
            if input_error is not None:
                self._raise(input_error, "the input of ")
            if lost:
                self._raise(
                    RuntimeError(f"fanmap lost {lost} item(s) of {self._name}: this is a bug, please report it")
                )
        finally:
            del failure, interrupt, reason, cut, input_error, broken, outside

    def raise_item_error(self, index: int, error: BaseException) -> NoReturn:
        """Raise an item's failure, with a note that names the item.

        What had finished is attached when the run has ended: others may finish on the way there.
        """
        self.note(index, error)
        try:
            raise error
        finally:
            del error

    def note(self, index: int, error: BaseException) -> None:
        """Name the item on its failure, which is about to be raised or handed out; the first has the hint as well."""
        position = index if self.positions is None else self.positions[index]
        note_item(error, f"fanmap: item {position} of {self._name}")
        if self._hint:
            note_item(error, f"fanmap: {self._hint}")
            self._hint = ""

    def hand_out(self, index: int, error: BaseException) -> BaseException:
        """A failure that stands in its item's place."""
        self.note(index, error)
        from_the_failing_frame(error)
        return error

    def consider(self, hint: Callable[[Any, BaseException], str | None], item: Any, error: BaseException) -> None:
        """An item has failed: does its shape explain that? Asked of the first one."""
        if self._hint is None:
            self._hint = ""
            # An item or an error may object to being looked at.
            self._hint = surviving(lambda: hint(item, error), None) or ""

    def attach_partial_results(self, error: BaseException) -> None:
        """The run ends with this exception: attach what had finished, and let go of it. Once a run."""
        try:
            self._unattached.pop()
        except IndexError:
            return
        if self.kept_note is not None and not is_a(error, JournalError):
            text = self.kept_note(self._flow.results.ended - self._flow.results.failed)
            if text is not None:
                note_item(error, text)
        attach_partial(error, self.release())

    def release(self) -> dict[int, Any]:
        """The run is over: let go of every exception; what had finished and was not handed out is kept."""
        finished = self._flow.results.finished()
        if self._finished is None:
            self._finished = finished
        self._flow.results.clear()
        return self._finished

    def finished(self) -> dict[int, Any]:
        """What has finished and was not handed out, by index; at any time, from any thread."""
        return dict(self._flow.results.finished() if self._finished is None else self._finished)

    def _raise(self, error: BaseException, whose: str = "") -> NoReturn:
        if is_a(error, ENDS):  # the input's, or a strategy's
            error = as_in_generator(whose + self._name, error)
        self.attach_partial_results(error)
        try:
            raise error
        finally:
            del error

    def _fill(self, reason: BaseException, cut: BaseException, now: float) -> None:
        """Every item that has no outcome gets one: a sized input to its end, of an iterator what was taken.

        One that had begun was not stopped by `reason`, but cut short: only a deadline does that, and goes on.
        """
        results, begun_items = self._flow.results, self._flow.begun_items
        for _ in range(results.taken, self._total or 0):
            results.take()
        for index in results.missing():
            begun = begun_items.get(index)
            if begun is None:
                by = "stop()" if is_a(reason, Stopped) else type_name(reason)
                error: Exception = NotRun(f"the run was stopped by {by} before this item started")
                if not is_a(reason, Stopped):
                    error.__cause__ = reason
                results.add((index, None, error, 0, now, now, now))
            else:
                error = DeadlineExceeded(f"the run's {self._seconds} s deadline passed while this item was in flight")
                error.__cause__ = cut
                results.add((index, None, error, *begun, now))


def _settle(*errors: BaseException | None) -> None:
    """What was under way has ended. Of several workers that were told of a total, each has an exception of its own."""
    for error in errors:
        if isinstance(error, BudgetExceeded):
            error.settle()
