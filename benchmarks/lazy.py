"""Lazy inputs in every library that takes them: what is held at the peak, and how far ahead the input is read.

    python -m benchmarks.lazy WAY COUNT     # one of them, alone in its interpreter: prints three numbers

The input is a generator; results are looked at one by one and not kept.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.calls import release_gil, suspend_once
from benchmarks.measure import Table
from benchmarks.memory import resident_mb
from fanmap import parallel_map

AT_ONCE = 64
taken = 0


def inputs(count: int) -> Iterator[int]:
    """The input, which knows how far it was read."""
    global taken
    for item in range(count):
        taken = item + 1
        yield item


# Each gives the results of a lazy input one by one


async def fanmap_async(items: Iterator[int]) -> AsyncIterator[Any]:
    async for value in parallel_map(max_concurrency=AT_ONCE)(suspend_once).imap(items):
        yield value


def fanmap_threads(items: Iterator[int]) -> Iterator[Any]:
    yield from parallel_map(max_concurrency=AT_ONCE)(release_gil).imap(items)


async def as_completed(items: Iterator[int]) -> AsyncIterator[Any]:
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def one(item: int) -> int:
        async with semaphore:
            return await suspend_once(item)

    for done in asyncio.as_completed([one(item) for item in items]):
        yield await done


def executor(items: Iterator[int]) -> Iterator[Any]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(release_gil, items)


async def streamable_async(items: Iterator[int]) -> AsyncIterator[Any]:
    import streamable

    async for value in streamable.stream(items).map(suspend_once, concurrency=AT_ONCE):
        yield value


def streamable_threads(items: Iterator[int]) -> Iterator[Any]:
    import streamable

    yield from streamable.stream(items).map(release_gil, concurrency=AT_ONCE)


async def aiometer_amap(items: Iterator[int]) -> AsyncIterator[Any]:
    import aiometer

    async with aiometer.amap(suspend_once, list(items), max_at_once=AT_ONCE) as results:  # it takes a sequence
        async for value in results:
            yield value


def joblib_generator(items: Iterator[int]) -> Iterator[Any]:
    from joblib import Parallel, delayed

    run = Parallel(n_jobs=AT_ONCE, backend="threading", return_as="generator")
    yield from run(delayed(release_gil)(item) for item in items)


def pyarallel_iter(items: Iterator[int]) -> Iterator[Any]:
    import pyarallel

    yield from pyarallel.parallel_iter(release_gil, items, workers=AT_ONCE)


async def pyarallel_async(items: Iterator[int]) -> AsyncIterator[Any]:
    import pyarallel

    async for value in pyarallel.async_parallel_iter(suspend_once, items, concurrency=AT_ONCE):
        yield value


def langchain_as_completed(items: Iterator[int]) -> Iterator[Any]:
    from langchain_core.runnables import RunnableLambda

    # it takes a sequence
    yield from RunnableLambda(release_gil).batch_as_completed(list(items), config={"max_concurrency": AT_ONCE})


WAYS: dict[str, Callable[[Iterator[int]], Any]] = {
    "fanmap imap": fanmap_async,
    "fanmap imap, threads": fanmap_threads,
    "asyncio.as_completed + Semaphore": as_completed,
    "ThreadPoolExecutor.map": executor,
    "streamable map": streamable_async,
    "streamable map, threads": streamable_threads,
    "aiometer amap": aiometer_amap,
    "joblib threading, generator": joblib_generator,
    "pyarallel async_parallel_iter": pyarallel_async,
    "pyarallel parallel_iter": pyarallel_iter,
    "langchain-core batch_as_completed": langchain_as_completed,
}


async def measured(name: str, count: int) -> list[float]:
    """Inputs read before the first result, MB held at the peak beyond the beginning, CPU microseconds a call."""

    async def through(many: int) -> tuple[int, float]:
        first, peak, seen = 0, 0.0, 0
        results = WAYS[name](inputs(many))
        if isinstance(results, AsyncIterator):
            async for _ in results:
                first = first or taken
                seen += 1
                if seen % 1_000 == 0 or seen == 1:
                    peak = max(peak, resident_mb())
        else:
            for _ in results:
                first = first or taken
                seen += 1
                if seen % 1_000 == 0 or seen == 1:
                    peak = max(peak, resident_mb())
        assert seen == many, seen
        return first, peak

    await through(500)
    gc.collect()
    before, began = resident_mb(), time.process_time()
    first, peak = await through(count)
    return [first, peak - before, (time.process_time() - began) / count * 1e6]


def table(count: int) -> Table:
    """All of them."""
    found = Table("lazy", f"{count:,} lazy items, {AT_ONCE} at once", ["inputs read first", "peak MB", "CPU us/call"])
    for name in WAYS:
        said = subprocess.run(
            [sys.executable, "-m", "benchmarks.lazy", name, str(count)], capture_output=True, text=True, check=False
        )
        last = said.stderr.strip().splitlines()[-1:] or ["no output"]
        missing = "not installed" if "ModuleNotFoundError" in last[0] else f"failed: {last[0][:60]}"
        found.rows[name] = [float(number) for number in said.stdout.split()] if said.returncode == 0 else missing
    return found


if __name__ == "__main__":
    print(*asyncio.run(measured(sys.argv[1], int(sys.argv[2]))))
