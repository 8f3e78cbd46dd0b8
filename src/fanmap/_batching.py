"""The ways for half the price: `batch` and `abatch`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, overload

from typing_extensions import Unpack

from fanmap._batch_types import BatchOptions, BatchProgress
from fanmap._decorated import Decorated
from fanmap._inputs import sync_inputs
from fanmap._preparing import AnyInputs
from fanmap._public import public
from fanmap._types import JournalOptions

R_co = TypeVar("R_co", covariant=True)


class Batching(Decorated, Generic[R_co]):
    """A decorated function whose requests can travel in a provider's batches."""

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
