"""CPU a call, beside what people write today, in one process, interleaved.

    python -m benchmarks.overhead [--calls 20000] [--rounds 7] [--workers 64]

Async: a call that suspends once, against `asyncio.gather` with a semaphore and against bare gather.
Threads: a call that releases the GIL, above a bare loop in the same threads:
(ours - loop) / (ThreadPoolExecutor.map - loop).

Medians of rounds in which every way runs once, in turn: what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from fanmap import Limits, gather_bounded, parallel_map


async def suspend_once(item: int) -> int:
    await asyncio.sleep(0)
    return item


def release_gil(item: int) -> int:
    time.sleep(0)
    return item


def cpu_of(run: Callable[[], object]) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


async def cpu_of_async(run: Callable[[], Awaitable[object]]) -> float:
    before = time.process_time()
    await run()
    return time.process_time() - before


def async_ways(calls: int, workers: int) -> dict[str, Callable[[], Awaitable[object]]]:
    ask = parallel_map(max_concurrency=workers)(suspend_once)
    items = list(range(calls))

    async def bare_gather() -> object:
        return await asyncio.gather(*[suspend_once(item) for item in items])

    async def gather_with_semaphore() -> object:
        semaphore = asyncio.Semaphore(workers)

        async def one(item: int) -> int:
            async with semaphore:
                return await suspend_once(item)

        return await asyncio.gather(*[one(item) for item in items])

    async def imap() -> object:
        return [value async for value in ask.imap(items)]

    async def as_completed() -> object:
        return [outcome async for outcome in ask.as_completed(items)]

    async def background_loop() -> object:
        return ask.map(items)  # the process's CPU is counted, whichever thread spends it

    async def background_imap() -> object:
        return list(ask.imap(items))

    return {
        "gather with a semaphore": gather_with_semaphore,
        "bare gather": bare_gather,
        "amap, a list": lambda: ask.amap(items),
        "amap, a generator": lambda: ask.amap(item for item in items),
        "imap, a list": imap,
        "as_completed, a list": as_completed,
        "map through the background loop": background_loop,
        "imap through the background loop": background_imap,
        "gather_bounded, positional": lambda: gather_bounded(
            *[suspend_once(item) for item in items], max_concurrency=workers
        ),
        "gather_bounded, a generator": lambda: gather_bounded(
            (suspend_once(item) for item in items), max_concurrency=workers
        ),
    }


def thread_ways(calls: int, workers: int) -> dict[str, Callable[[], object]]:
    ask = parallel_map(max_concurrency=workers)(release_gil)
    with_rate = parallel_map(limits=Limits(workers, rpm=1e9))(release_gil)  # which does not bind
    items = list(range(calls))

    def bare_loop() -> object:
        share = calls // workers

        def loop() -> None:
            for item in range(share):
                release_gil(item)

        threads = [threading.Thread(target=loop) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return None

    def executor() -> object:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(release_gil, items))

    return {"bare loop": bare_loop, "ThreadPoolExecutor.map": executor, "map": lambda: ask.map(items),
            "imap": lambda: list(ask.imap(items)), "map, rpm=": lambda: with_rate.map(items)}  # fmt: skip


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def measure_async(calls: int, rounds: int, workers: int) -> dict[str, float]:
    async def main() -> dict[str, float]:
        ways = async_ways(calls, workers)
        for run in ways.values():
            await run()
        return medians([{name: await cpu_of_async(run) for name, run in ways.items()} for _ in range(rounds)])

    return asyncio.run(main())


def measure_threads(calls: int, rounds: int, workers: int) -> dict[str, float]:
    ways = thread_ways(calls, workers)
    for run in ways.values():
        run()
    return medians([{name: cpu_of(run) for name, run in ways.items()} for _ in range(rounds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args()
    # Said once where a blocking run is made inside a running loop, which is what is measured here.
    warnings.filterwarnings("ignore", message="a blocking run of ", category=UserWarning)

    found = measure_async(options.calls, options.rounds, options.workers)
    with_semaphore, bare = found["gather with a semaphore"], found["bare gather"]
    print(f"async, {options.calls} calls that suspend once, {options.workers} at once (CPU)")
    print(f"{'':34}{'µs a call':>10}{'/ semaphore':>13}{'/ bare':>8}")
    for name, seconds in found.items():
        print(f"{name:34}{seconds / options.calls * 1e6:10.2f}{seconds / with_semaphore:13.2f}{seconds / bare:8.2f}")

    for workers in (options.workers, 8):
        calls = options.calls // workers * workers
        found = measure_threads(calls, options.rounds, workers)
        loop, executor = found["bare loop"], found["ThreadPoolExecutor.map"]
        print(f"\nthreads, {calls} calls that release the GIL, {workers} at once (CPU)")
        print(f"{'':34}{'µs a call':>10}{'(x - loop) / (executor - loop)':>32}")
        for name, seconds in found.items():
            print(f"{name:34}{seconds / calls * 1e6:10.2f}{(seconds - loop) / (executor - loop):32.2f}")


if __name__ == "__main__":
    main()
