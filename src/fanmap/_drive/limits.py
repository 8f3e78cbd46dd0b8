"""`Limits`: the public face of one budget, also for code that cannot be decorated."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from aiolimiter import AsyncLimiter
from typing_extensions import override

from fanmap._drive import aio, loops, threads
from fanmap._drive.budget import Budget
from fanmap._drive.calls import Block, Plan
from fanmap._policy.rate import Rate, check_positive

RateLike = Rate | AsyncLimiter


def check_count(name: str, value: object) -> int:
    """An int >= 1, or an error that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int >= 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be >= 1, got {value!r}")
    return value


def _check_rates(rpm: float | None, rate: RateLike | Sequence[RateLike]) -> tuple[list[Rate], list[AsyncLimiter]]:
    given: list[Any] = [rate] if isinstance(rate, (Rate, AsyncLimiter)) else list(rate)
    rates: list[Rate] = []
    limiters: list[AsyncLimiter] = []
    if rpm is not None:
        check_positive("rpm", rpm)
        rates.append(Rate(rpm, 60.0))
    for one in given:
        if isinstance(one, Rate):
            rates.append(one)
        elif isinstance(one, AsyncLimiter):
            limiters.append(one)
        else:
            raise TypeError(f"rate must be a Rate, an aiolimiter.AsyncLimiter or several of them, got {one!r}")
    return rates, limiters


class Limits:
    """One budget of calls, shared by everything it is given to.

    Thread-safe and bound to no event loop: threads and any number of loops share it. It binds every call
    made under it: runs, direct calls of a decorated function, and `with limits:` (or `async with`) blocks.

    Args:
        max_concurrency: calls under way at once; an int >= 1.
        rpm: calls that start in any 60 seconds; > 0; None: no such limit. Short for `rate=Rate(rpm)`.
        rate: a `Rate`, an `aiolimiter.AsyncLimiter` (asyncio only, see the docs), or several.
        max_wait: seconds that a server may keep everybody from working, by one wait or by refusals without
            a success between, before a run stops; > 0. A wait is never shortened.

    Raises:
        ValueError, TypeError: a setting out of its bounds, when it is made.

    Threads: a call made inside another one under the same Limits runs on the slot of the outer one, so
    nested runs and recursion cannot deadlock. A `with` block is charged one unit of each rate.
    A Limits holds for this process only: divide the numbers by your processes.
    """

    def __init__(
        self,
        max_concurrency: int = 8,
        rpm: float | None = None,
        rate: RateLike | Sequence[RateLike] = (),
        *,
        max_wait: float = 300.0,
    ) -> None:
        check_count("max_concurrency", max_concurrency)
        check_positive("max_wait", max_wait)
        rates, limiters = _check_rates(rpm, rate)
        self._max_wait = max_wait
        self._budget = Budget(max_concurrency, rates, limiters, max_wait)
        self._blocks: ContextVar[tuple[Block, ...]] = ContextVar("fanmap_blocks", default=())

    @property
    def max_concurrency(self) -> int:
        """Calls under way at once."""
        return self._budget.max_concurrency

    @override
    def __repr__(self) -> str:
        rates = [*self._budget.rates, *self._budget.limiters]
        shown = f", rate={rates!r}" if rates else ""
        return f"Limits(max_concurrency={self.max_concurrency}{shown}, max_wait={self._max_wait})"

    @override
    def __reduce__(self) -> Any:
        raise TypeError("a Limits binds one process and cannot be pickled: make one in each process")

    def __enter__(self) -> Self:
        if self._budget.limiters:
            raise TypeError(asyncio_only(self._budget.limiters))
        block = Block(self._plan(), None)
        threads.admit(block)
        self._blocks.set((*self._blocks.get(), block))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        *outer, block = self._blocks.get()
        self._blocks.set(tuple(outer))
        block.leave(error)

    async def __aenter__(self) -> Self:
        block = Block(self._plan(), threading.get_ident())
        if loops.running() == "trio":
            from fanmap._drive import trio  # only where trio runs

            if self._budget.limiters:
                raise TypeError(asyncio_only(self._budget.limiters))
            await trio.admit(block)
        else:
            await aio.admit(block)
            try:
                for limiter in self._budget.limiters:
                    await limiter.acquire()
            except BaseException:
                block.leave(None)
                raise
        self._blocks.set((*self._blocks.get(), block))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _plan(self) -> Plan:
        return Plan("a block under Limits", _unused, _no_arguments, self._budget, retry=False)


def budget_of(limits: Limits) -> Budget:
    """The state behind a Limits, for the layer above."""
    return limits._budget  # pyright: ignore[reportPrivateUsage]


def asyncio_only(limiters: Sequence[AsyncLimiter]) -> str:
    """What to write instead of an AsyncLimiter outside asyncio."""
    one = limiters[0]
    return (
        "an aiolimiter.AsyncLimiter belongs to one asyncio loop and cannot hold threads or trio back: "
        f"write Rate({one.max_rate:g}, {one.time_period:g})"
    )


def _unused(item: Any) -> Any:  # pragma: no cover (a block calls nothing)
    return item


def _no_arguments(item: Any) -> Any:  # noqa: ARG001
    return (), {}
