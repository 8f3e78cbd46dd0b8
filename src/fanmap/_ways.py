"""The ways to run a decorated function over many inputs: `map`, `amap`, `imap`, `as_completed`, `stream`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import IO, Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, overload

from typing_extensions import Unpack

from fanmap._batching import Batching
from fanmap._collect import collect_awaiting, collect_blocking, hand_out_chunk, hand_out_outcome, hand_out_value
from fanmap._drawn import target_of
from fanmap._inputs import length_of, sync_inputs
from fanmap._outcome import Outcome
from fanmap._policy.runs.as_completed import AsCompleted, Chunks
from fanmap._policy.runs.in_list import InList
from fanmap._policy.runs.in_order import InOrder
from fanmap._policy.runs.results import ResultBuffer
from fanmap._preparing import AnyInputs, Options, Preparing, journal_of, most_failures
from fanmap._progress import watcher
from fanmap._public import public
from fanmap._results import Results
from fanmap._types import JournalOptions, Progress, RunOptions

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

# What a run gives as a list of its chunks. The overloads for files come first: files iterate as well, but are results
# as they are; and Any, which fits whatever stands first, is to stay Any.
Streamed: TypeAlias = Iterator[T] | AsyncIterator[T]


class Parallel(Preparing, Batching[R_co], Generic[P, R_co]):
    """What both kinds of decorated function have in common."""

    # The four ways to run it over many inputs

    @overload
    def map(
        self: Parallel[..., IO[Any]],
        inputs: Iterable[Any],
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> list[R_co]: ...
    @overload
    def map(
        self: Parallel[..., IO[Any]],
        inputs: Iterable[Any],
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> list[R_co | BaseException]: ...
    @overload
    def map(
        self: Parallel[..., Streamed[T]],
        inputs: Iterable[Any],
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> list[list[T]]: ...
    @overload
    def map(
        self: Parallel[..., Streamed[T]],
        inputs: Iterable[Any],
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> list[list[T] | BaseException]: ...
    @overload
    def map(
        self,
        inputs: Iterable[Any],
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> list[R_co]: ...
    @overload
    def map(
        self,
        inputs: Iterable[Any],
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> list[R_co | BaseException]: ...
    @public
    def map(
        self,
        inputs: Iterable[Any],
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        max_failures: int | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        trace: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co] | list[R_co | BaseException] | list[Any]:  # a stream's chunks are a list
        """Call the function for every input, many at once, and return the results in input order.

        Same as: `[function(item) for item in inputs]`.

        Args:
            inputs: any iterable; read where you stand, only as fast as calls start.
            unpack: tuples and lists become `*args`, mappings `**kwargs`.
            return_exceptions: put failures in their item's place instead of raising the first one.
            max_concurrency: calls at once in this run; never above the limits; None: as many as they allow.
            deadline: seconds for the whole run; None: no bound.
            max_failures: with `return_exceptions=True`, the failure with which the run stops as `.stop()` does, an int
                >= 1: calls under way end, nothing is raised, and a `NotRun` caused by `TooManyFailures` stands for
                each item that never started. None: however many fail.
            progress: True for a bar (needs the extra `progress`), or a callable that is given the stats. An
                Exception of either is said once, and ends nothing.
            resume: path of a journal: every outcome is written to it before it counts, and a result that it
                has already is not asked for again. None: nothing is kept.
            trace: path of a page (.html) or of trace events for Perfetto (.json) that is written when the run is
                over, however it ends: what each call waited for, and what held the run up. Indices and numbers
                only. None: nothing is recorded.
            journal: `key`, `encode`, `decode`, `version` and `durable`, beside `resume`: see `JournalOptions`.

        Returns:
            One result an input, in input order.

        Raises:
            Exception: the first failure, as the function raised it, with a note that names the item. Nothing
                starts after it; `partial_results(error)` has what had finished.
            DeadlineExceeded: the run took longer than `deadline`.
            TypeError, ValueError: a setting out of its bounds, or a string as inputs; nothing was called.
            JournalError: the file of `resume` cannot be used (nothing was called), or failed under way.
            OSError: the file of `trace` cannot be written; nothing was called.
            BridgeError: it would wait for the very loop that it blocks.

        Threads: blocks the caller; an `async def` runs on the background loop meanwhile.
        """
        most = most_failures(max_failures, go_on=return_exceptions)
        kept, target = journal_of(resume, journal), target_of(trace)
        options = Options(unpack, return_exceptions, max_concurrency, deadline, most, progress, kept, target)
        watching = watcher(progress, self._name)
        order = InList(stop_on_failure=not return_exceptions)
        items = sync_inputs(inputs, f"{self._name}.map")
        run, where = self._prepare(order, items, options, total=length_of(inputs), blocking=True)
        return collect_blocking(run, where, watching)

    @overload
    async def amap(
        self: Parallel[..., IO[Any]],
        inputs: AnyInputs,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> list[R_co]: ...
    @overload
    async def amap(
        self: Parallel[..., IO[Any]],
        inputs: AnyInputs,
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> list[R_co | BaseException]: ...
    @overload
    async def amap(
        self: Parallel[..., Streamed[T]],
        inputs: AnyInputs,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> list[list[T]]: ...
    @overload
    async def amap(
        self: Parallel[..., Streamed[T]],
        inputs: AnyInputs,
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> list[list[T] | BaseException]: ...
    @overload
    async def amap(
        self,
        inputs: AnyInputs,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> list[R_co]: ...
    @overload
    async def amap(
        self,
        inputs: AnyInputs,
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> list[R_co | BaseException]: ...
    @public
    async def amap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        max_failures: int | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        trace: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co] | list[R_co | BaseException] | list[Any]:  # a stream's chunks are a list
        """`map`, awaited: from asyncio and from trio.

        Same as: `[await function(item) for item in inputs]`; for a `def`, its calls run in threads.

        Args:
            inputs: any iterable, or an async one.
            unpack, return_exceptions, max_concurrency, deadline, max_failures, progress, resume, trace, journal: as
                for `map`.

        Returns:
            One result an input, in input order.

        Raises:
            Exception: as `map`. When it leaves, no async sibling runs on.

        Cancellation: cancels the run, waits for its tasks; `partial_results` of the CancelledError has what
            had finished. Threads cannot be cancelled: a `def` that is under way runs on, its result dropped.
        """
        most = most_failures(max_failures, go_on=return_exceptions)
        kept, target = journal_of(resume, journal), target_of(trace)
        options = Options(unpack, return_exceptions, max_concurrency, deadline, most, progress, kept, target)
        watching = watcher(progress, self._name)
        order = InList(stop_on_failure=not return_exceptions)
        source = inputs if isinstance(inputs, AsyncIterable) else None
        items = None if source is not None else sync_inputs(inputs, f"{self._name}.amap")
        run, where = self._prepare(order, items, options, total=length_of(inputs), blocking=False)
        return await collect_awaiting(run, where, source, watching)

    @overload
    def imap(
        self: Parallel[..., IO[Any]],
        inputs: AnyInputs,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> Results[R_co]: ...
    @overload
    def imap(
        self: Parallel[..., IO[Any]],
        inputs: AnyInputs,
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> Results[R_co | BaseException]: ...
    @overload
    def imap(
        self: Parallel[..., Streamed[T]],
        inputs: AnyInputs,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> Results[list[T]]: ...
    @overload
    def imap(
        self: Parallel[..., Streamed[T]],
        inputs: AnyInputs,
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> Results[list[T] | BaseException]: ...
    @overload
    def imap(
        self,
        inputs: AnyInputs,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> Results[R_co]: ...
    @overload
    def imap(
        self,
        inputs: AnyInputs,
        *,
        return_exceptions: bool,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> Results[R_co | BaseException]: ...
    @public
    def imap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        max_failures: int | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        trace: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> Results[R_co] | Results[R_co | BaseException] | Results[Any]:  # a stream's chunks are a list
        """Results one at a time, in input order, lazily; for endless inputs too.

        Same as: `map(function, inputs)`, or `(await function(item) for item in inputs)` with `async for`.

        Args:
            inputs: any iterable, or (with `async for`) an async one; it advances only while a result is
                being asked for, and no further than 8 times the concurrency ahead.
            unpack, return_exceptions, max_concurrency, deadline, max_failures, progress, resume, trace, journal: as
                for `map`.

        Returns:
            An iterator, async iterator and context manager of both kinds. When an item fails, no item after
            it starts, everything before it is handed out, and then its exception is raised.
        """
        most = most_failures(max_failures, go_on=return_exceptions)
        kept, target = journal_of(resume, journal), target_of(trace)
        options = Options(unpack, return_exceptions, max_concurrency, deadline, most, progress, kept, target)

        def new_order(window: int) -> ResultBuffer:
            return InOrder(window, stop_on_failure=not return_exceptions)

        return self._results(inputs, f"{self._name}.imap", new_order, hand_out_value, options)

    @overload
    def as_completed(
        self: Parallel[..., IO[Any]],
        inputs: AnyInputs,
        *,
        return_exceptions: bool = False,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> Results[Outcome[R_co]]: ...
    @overload
    def as_completed(
        self: Parallel[..., Streamed[T]],
        inputs: AnyInputs,
        *,
        return_exceptions: bool = False,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> Results[Outcome[list[T]]]: ...
    @overload
    def as_completed(
        self,
        inputs: AnyInputs,
        *,
        return_exceptions: bool = False,
        max_failures: int | None = None,
        **options: Unpack[RunOptions],
    ) -> Results[Outcome[R_co]]: ...
    @public
    def as_completed(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        max_failures: int | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        trace: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> Results[Outcome[R_co]] | Results[Outcome[list[Any]]]:
        """Outcomes as they finish; never raises for an item.

        Args:
            inputs: as for `imap`.
            return_exceptions: hand out a `DeadlineExceeded` or `NotRun` for what a deadline left, instead of
                raising; items' own failures are outcomes either way.
            max_failures: as for `map`, with or without `return_exceptions=True`.
            unpack, max_concurrency, deadline, progress, resume, trace, journal: as for `map`.

        Returns:
            An iterator, async iterator and context manager of both kinds, of `Outcome`.
        """
        most = most_failures(max_failures, go_on=True)
        kept, target = journal_of(resume, journal), target_of(trace)
        options = Options(unpack, return_exceptions, max_concurrency, deadline, most, progress, kept, target)
        return self._results(inputs, f"{self._name}.as_completed", AsCompleted, hand_out_outcome, options)

    @overload
    def stream(
        self: Parallel[..., Streamed[T]],
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: Literal[False] = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> Results[tuple[int, T]]: ...
    @overload
    def stream(
        self: Parallel[..., Streamed[T]],
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        max_failures: int | None = None,
        progress: Progress = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> Results[tuple[int, T | BaseException]]: ...
    @public
    def stream(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        max_failures: int | None = None,
        progress: Progress = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> Results[tuple[int, Any]]:
        """The chunks of every item's stream as they come, many streams at once; for functions that yield or return one.

        Same as: `((index, chunk) for index, item in enumerate(inputs) for chunk in function(item))`, but that the
        streams are read side by side; the chunks of one item come in their order.

        Args:
            inputs: as for `imap`.
            return_exceptions: hand out a failed item's `(index, exception)` in its turn instead of raising it.
            unpack, max_concurrency, deadline, max_failures, progress, trace: as for `map`.

        Returns:
            An iterator, async iterator and context manager of both kinds, of `(index of the input, chunk)`. Of each
            item one chunk at most waits to be taken: its stream is read on when that one has been. Leaving it closes
            every stream.

        Raises:
            Exception: an item's failure, with a note that names the item, after the chunks that came before; all
                other streams are closed. A stream that had begun is never read again from its beginning.
        """
        most = most_failures(max_failures, go_on=return_exceptions)
        options = Options(unpack, return_exceptions, max_concurrency, deadline, most, progress, None, target_of(trace))

        def new_order(window: int) -> ResultBuffer:
            return Chunks(window, goes_on=return_exceptions)

        return self._results(inputs, f"{self._name}.stream", new_order, hand_out_chunk, options, streams=True)
