"""The items of one call: each runs as far as it goes, in each turn, and what became of it is kept."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

import tenacity

from fanmap._drive import clock
from fanmap._drive.batch.book import Book
from fanmap._drive.batch.capture import Capture
from fanmap._drive.batch.left_tasks import end_left_tasks, item_here
from fanmap._drive.batch.spending import NoMoney
from fanmap._drive.calls.plan import Plan
from fanmap._drive.calls.reading import read
from fanmap._drive.drivers import loops
from fanmap._drive.journals.codec import KeyedInput
from fanmap._drive.wire.hook import ensure
from fanmap._drive.wire.observing import Unwind, observer
from fanmap._errors import BatchError, JournalError
from fanmap._inputs import afresh
from fanmap._policy.batch.job import HandIn
from fanmap._policy.batch.question import item_of, mark_of
from fanmap._policy.journals.kept import NOTHING_SPENT, Spent
from fanmap._policy.runs.attempt import Attempts, Retry
from fanmap._public import calls_users
from fanmap._raw import INTERRUPTS, is_a

_UNFINISHED: Final = object()


class Items:
    """Runs them, from any thread; each is one run's at a time.

    Args:
        book: of the job.
        inputs: all of them, with their keys.
        call: the function, of one input.
        name: of the function.
        is_async: it is an `async def`.
        retry: what is asked anew.
        block: how what goes to the wire is admitted.
        max_turns: in which an item may ask something.

    Attributes:
        results: of each item; use `finished` and `left` to tell who has one.
        failures: by index.
        resumed: how many were in the file.
    """

    def __init__(
        self,
        book: Book,
        inputs: Sequence[KeyedInput],
        call: Callable[[Any], Any],
        *,
        name: str,
        is_async: bool,
        retry: Retry | None,
        block: Plan,
        max_turns: int,
    ) -> None:
        self._book = book
        self._inputs = inputs
        self._call = call
        self._name = name
        self._is_async = is_async
        self._retry = retry
        self._block = block
        self._max_turns = max_turns
        self._ends: list[int] = []
        self._spent: dict[int, Spent] = {}  # by requests that went to the wire, until the item's line says so
        self.results: list[Any] = [_UNFINISHED] * len(inputs)
        self.failures: dict[int, BaseException] = {}
        self.resumed = 0
        for index, one in enumerate(inputs):
            found = None if one.key is None else book.recording.find(index, one.key)
            if found is not None:
                self.results[index] = found[0]
                self.resumed += 1

    def left(self) -> list[int]:
        """Those that have no outcome yet."""
        results, failures = self.results, self.failures
        return [index for index in range(len(results)) if results[index] is _UNFINISHED and index not in failures]

    def first_of(self, hand_in: HandIn) -> int | None:
        """The first item that has asked something in there, else the first of all; None: there is none."""
        marks = {item_of(question) for question in hand_in.questions}
        keys = (one.key for one in self._inputs)
        found = (index for index, key in enumerate(keys) if key is not None and mark_of(key) in marks)
        return next(found, 0 if self._inputs else None)

    def finished(self) -> dict[int, Any]:
        """The results so far, by index."""
        return {index: value for index, value in enumerate(self.results) if value is not _UNFINISHED}

    def wait_for_disk(self) -> None:
        """Until the disk has what was written of them."""
        if self._ends:
            self._book.journal.wait_for_disk(max(self._ends))
            self._ends.clear()

    # One item, as far as it goes

    @calls_users
    def run(self, index: int) -> None:
        """Run the item of a `def`."""
        capture, attempts = self._begin(index)
        again = self._book.stopped is None
        while again:
            began, value, error = clock.now(), None, None
            outside = observer.set(capture)
            try:
                value = self._call(afresh(self._inputs[index].item))
                if not self._is_async and inspect.iscoroutine(value):
                    value.close()
                    raise TypeError(
                        f"{self._name} returned a coroutine, which nobody would await: decorate the `async def`"
                    )
            except BaseException as failure:
                error = failure
            finally:
                observer.reset(outside)
            try:
                again = self._went(index, capture, attempts, value, error, began)
            finally:
                del error

    @calls_users
    async def run_async(self, index: int) -> None:
        """Run the item of an `async def`."""
        capture, attempts = self._begin(index)
        capture.root = None if loops.running() == "trio" else asyncio.current_task()
        again = self._book.stopped is None
        while again:
            began, value, error = clock.now(), None, None
            outside, around = observer.set(capture), item_here.set(capture)
            try:
                value = await self._call(afresh(self._inputs[index].item))
            except BaseException as failure:
                error = failure
            finally:
                observer.reset(outside)
                item_here.reset(around)
            try:
                if capture.open and not _is_cancelled(error):
                    await end_left_tasks(capture)
                again = self._went(index, capture, attempts, value, error, began)
            finally:
                del error

    def _begin(self, index: int) -> tuple[Capture, Attempts]:
        ensure()
        capture = Capture(self._book, index, self._inputs[index].key or f"?{index}", self._block)
        return capture, Attempts(self._retry, clock.now())

    def _went(
        self, index: int, capture: Capture, attempts: Attempts, value: Any, error: BaseException | None, began: float
    ) -> bool:
        """An item has gone as far as it goes: is it to be called once more?"""
        spent = capture.outlet.take_spent()
        if spent:
            self._spent[index] = self._spent.get(index, NOTHING_SPENT) + spent
        if error is not None and (is_a(error, (*INTERRUPTS, GeneratorExit)) or _is_cancelled(error)):
            raise error
        stopped = self._book.stopped
        if capture.cut or (stopped is not None and not is_a(stopped, NoMoney)):
            return False
        if capture.open:  # whatever it returned or raised
            trouble = self._trouble(capture)
            if trouble is not None:
                self._finish(index, None, trouble, began)
            return False
        now = clock.now()
        if error is None:
            wanted = attempts.returned(value, now, 0.0)
            if isinstance(wanted, tenacity.RetryError):
                error = wanted
            elif wanted is not None:
                capture.keys.attempt += 1
                return True
        elif is_a(error, Unwind):  # one that nothing was taken down for: the job has been stopped
            return False
        elif attempts.failed(error, read(error, None).verdict, now, 0.0) is not None:
            capture.keys.attempt += 1
            return True
        self._finish(index, value, error, began)
        return False

    def _trouble(self, capture: Capture) -> BatchError | None:
        """Why an item whose questions are open must not ask them."""
        job, mark = self._book.job, capture.keys.mark
        new = self._book.new_of(capture.open)
        if not new:
            return None
        trouble = None
        if job.forgotten(mark, capture.asked_for):
            self._book.patience.in_vain()
            trouble = BatchError(
                "the item sent a different request than before. In a batch, a function runs again from the top and "
                "must send the same requests: remove times, random values and ids from the prompt, or make them "
                "inputs, and turn off caches of answers. If you changed the function, change version="
            )
        elif job.turns.get(mark, (0, 0))[0] >= self._max_turns and job.is_first(mark, new):
            trouble = BatchError(f"the item needs more than {self._max_turns} turns: raise max_turns=")
        if trouble is not None:
            self._book.drop(new)
        return trouble

    def _finish(self, index: int, value: Any, error: BaseException | None, began: float) -> None:
        if self.results[index] is not _UNFINISHED:
            return  # it was run again for its headers
        key, recording = self._inputs[index].key, self._book.recording
        spent = self._spent.pop(index, NOTHING_SPENT)
        try:
            if key is not None:
                end = recording.write(key, index, clock.now() - began, value, error, spent)
                if spent:
                    self._block.budget.keep(recording.path, spent)
                if end:
                    self._ends.append(end)
        except (JournalError, TypeError) as failure:
            self._book.stop(failure)  # but it is paid for: it is among the partial results
        if error is None:
            self.results[index] = value
        else:
            self.failures[index] = error


def _is_cancelled(error: BaseException | None) -> bool:
    """Was this task told to end, rather than its item unwound?"""
    if not isinstance(error, asyncio.CancelledError):
        return error is not None and type(error).__module__.partition(".")[0] == "trio" and not is_a(error, Exception)
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0  # a group that unwinds has taken its own back
