"""What share of a rate is used, and the worst window, under steady demand of 64 callers."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable

from benchmarks.measure import Table
from fanmap import Limits, Rate, parallel_map

Acquire = Callable[[], Awaitable[object]]


def worst_window(starts: list[float], per: float = 1.0) -> int:
    """The most starts in any half-open window of `per` seconds."""
    return max(bisect_left(starts, start + per) - place for place, start in enumerate(starts))


async def _demand(acquire: Acquire, seconds: float) -> list[float]:
    starts: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while time.perf_counter() < end:
            await acquire()
            starts.append(time.perf_counter())

    tasks = [asyncio.create_task(caller()) for _ in range(64)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sorted(start for start in starts if start < end)


def table(rate: int, seconds: float) -> Table:
    """Each limiter once, for some seconds, with its period of one second."""

    def ours() -> Acquire:
        async def nothing() -> None:
            return None

        return parallel_map(limits=Limits(64, rate=Rate(rate, 1.0)))(nothing)

    def aiolimiter() -> Acquire:
        from aiolimiter import AsyncLimiter

        return AsyncLimiter(rate, 1.0).acquire

    def pyrate() -> Acquire:
        import pyrate_limiter

        limiter = pyrate_limiter.Limiter(pyrate_limiter.Rate(rate, 1000))
        return lambda: limiter.try_acquire_async("name")

    def langchain() -> Acquire:
        from langchain_core.rate_limiters import InMemoryRateLimiter

        return InMemoryRateLimiter(requests_per_second=rate).aacquire

    out = Table(
        f"rate-{rate}",
        f"{rate} a second for {seconds:g} s, 64 callers",
        ["achieved / limit", "worst second", "allowed"],
    )
    for name, make in {
        "fanmap Rate": ours,
        "aiolimiter": aiolimiter,
        "pyrate-limiter": pyrate,
        "langchain-core InMemoryRateLimiter": langchain,
    }.items():
        try:
            acquire = make()
        except ImportError as error:
            out.rows[name] = f"not installed ({error.name})"
            continue

        async def main(acquire: Acquire = acquire) -> list[float]:
            return await _demand(acquire, seconds)

        starts = asyncio.run(main())
        out.rows[name] = (
            [len(starts) / (rate * seconds), float(worst_window(starts)), float(rate)] if starts else "nothing started"
        )
    return out
