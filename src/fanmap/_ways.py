"""The four ways to run a decorated function over many inputs: `map`, `amap`, `imap`, `as_completed`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, overload

from typing_extensions import Unpack

from fanmap._batch_types import BatchOptions, BatchProgress
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

if TYPE_CHECKING:
    pass

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

# What a run gives as a list of its chunks. The overloads for files come first: files iterate as well, but are results
# as they are; and Any, which fits whatever stands first, is to stay Any.
Streamed: TypeAlias = Iterator[T] | AsyncIterator[T]


class Parallel(Preparing, Generic[P, R_co]):
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

    # For half the price

    @overload
    def batch(
        self, inputs: Iterable[Any], *, return_exceptions: Literal[False] = False, **options: Unpack[BatchOptions]
    ) -> list[R_co]: ...
    @overload
    def batch(
        self, inputs: Iterable[Any], *, return_exceptions: bool, **options: Unpack[BatchOptions]
    ) -> list[R_co | BaseException]: ...
    @public
    def batch(
        self,
        inputs: Iterable[Any],
        *,
        resume: str | os.PathLike[str],
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        wait: float | None = None,
        poll: float | None = None,
        max_turns: int = 8,
        only: bool = False,
        endpoints: Sequence[str] = (),
        progress: bool | Callable[[BatchProgress], object] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co] | list[R_co | BaseException]:
        """`map` through the provider's batch interface: half the price, for answers that may take some hours.

        The function runs as far as its first request, which is taken from its client; all of these are submitted as
        batches. When they have ended, the function runs again from the top and is handed the answer; and so on, a
        turn for each request that waits for another one's answer.

        Same as: `[function(item) for item in inputs]`, with requests to OpenAI (responses, chat completions,
        embeddings), Azure OpenAI and Anthropic (messages) through httpx, httpx2 or requests in batches.

        Args:
            inputs: any iterable.
            resume: path of the job's file. The same call goes on in it: after a crash, tomorrow, elsewhere. It holds
                what was submitted and every answer; no header or key. The same file serves `map(resume=)`.
            unpack: tuples and lists become `*args`, mappings `**kwargs`.
            return_exceptions: put failures in their item's place instead of raising the first one when its turn has
                ended.
            max_concurrency: items that run at once, as far as they go, >= 1; None: as many as the limits allow, at
                most 64.
            wait: seconds to wait for batches, >= 0. 0: submit what is missing, and leave. None: for ever.
            poll: seconds between looks at the batches, > 0. None: 5, growing to 300.
            max_turns: turns in which an item may ask something, >= 1.
            only: a request that cannot travel in a batch (a stream, another host) is an error before it is sent;
                else it is sent at once, under the limits.
            endpoints: URLs such as "http://host/v1" of servers, other than the providers' own, that take batches.
            progress: True for lines on stderr, or a callable that is given a `BatchProgress` when something changed;
                the last one has a `BatchSummary` of requests by fate, tokens and cost (see `Limits(price=)`).
            journal: `key`, `encode`, `decode`, `version` and `durable` (here True unless you say otherwise): see
                `JournalOptions`.

        Returns:
            One result an input, in input order.

        Raises:
            BatchPending: `wait` seconds are over; the same call goes on. Also with `return_exceptions=True`.
            BatchError: the provider refused a batch, or an item asks something else each time it runs, or takes more
                than `max_turns`; as an item's failure, or of the whole call. What was answered is kept.
            BudgetExceeded: under `max_spend=`, half the price of the next request's prompt and `max_tokens` (without
                one: the mean so far) does not fit. What was submitted is collected and kept, a larger amount goes on.
                With `return_exceptions=True`, the cause of the `NotRun` that stands for each item that is left.
            Exception: the first failure, as the function raised it, with a note that names the item.
            TypeError, ValueError: a setting out of its bounds; nothing was called. ValueError, too, where under
                `max_spend=` a request or an answer cannot be priced.
            JournalError: the file cannot be used (another run has it), or failed under way.

        Cancellation: batches go on at the provider, and the same call goes on with them.
        Cost: lines of the function before a request run again in each turn.
        """
        from fanmap import _batch  # only where somebody asks for it

        checked = _batch.check_options(
            resume=resume, journal=journal, unpack=unpack, return_exceptions=return_exceptions,
            max_concurrency=max_concurrency, wait=wait, poll=poll, max_turns=max_turns, only=only,
            endpoints=endpoints, progress=progress,
        )  # fmt: skip
        items = list(sync_inputs(inputs, f"{self._name}.batch"))
        return _batch.run_blocking(self, items, checked)

    @overload
    async def abatch(
        self, inputs: AnyInputs, *, return_exceptions: Literal[False] = False, **options: Unpack[BatchOptions]
    ) -> list[R_co]: ...
    @overload
    async def abatch(
        self, inputs: AnyInputs, *, return_exceptions: bool, **options: Unpack[BatchOptions]
    ) -> list[R_co | BaseException]: ...
    @public
    async def abatch(
        self,
        inputs: AnyInputs,
        *,
        resume: str | os.PathLike[str],
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        wait: float | None = None,
        poll: float | None = None,
        max_turns: int = 8,
        only: bool = False,
        endpoints: Sequence[str] = (),
        progress: bool | Callable[[BatchProgress], object] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co] | list[R_co | BaseException]:
        """`batch`, awaited: from asyncio and from trio.

        Args:
            inputs: any iterable, or an async one.
            resume, unpack, return_exceptions, max_concurrency, wait: as for `batch`.
            poll, max_turns, only, endpoints, progress, journal: as for `batch`.

        Returns:
            One result an input, in input order.

        Raises:
            Exception: as `batch`.

        Cancellation: as for `batch`.
        """
        from fanmap import _batch  # only where somebody asks for it

        checked = _batch.check_options(
            resume=resume, journal=journal, unpack=unpack, return_exceptions=return_exceptions,
            max_concurrency=max_concurrency, wait=wait, poll=poll, max_turns=max_turns, only=only,
            endpoints=endpoints, progress=progress,
        )  # fmt: skip
        if isinstance(inputs, AsyncIterable):
            items = [item async for item in inputs]
        else:
            items = list(sync_inputs(inputs, f"{self._name}.abatch"))
        return await _batch.run_awaiting(self, items, checked)
