"""What a user notices of one run: the start, the first result, one call, memory, import time."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import ways
from benchmarks.calls import nothing
from benchmarks.measure import AsyncWay, Table, Way, interleave, interleave_async
from fanmap import parallel_map


def thread_start(rounds: int) -> Table:
    """64 calls of 5 ms in 64 threads: mostly the start of the threads."""
    usable, missing = ways.usable_threads()

    def nap(item: Any) -> Any:
        time.sleep(0.005)
        return item

    def run(name: str) -> Way:
        return lambda: usable[name](nap, list(range(64)), 64)

    found = interleave({name: run(name) for name in usable}, 3 * rounds)
    table = Table("thread-start", "64 calls of 5 ms, 64 threads at once", ["wall ms", "CPU ms"])
    for name in ways.THREADS:
        table.rows[name] = missing[name] if name in missing else [found[name].wall * 1e3, found[name].cpu * 1e3]
    return table


def one_call(rounds: int) -> Table:
    """A run of one item, and direct calls of a decorated function."""
    calls = 2000
    ask = parallel_map(nothing)

    def echo(item: Any) -> Any:
        return item

    ask_sync = parallel_map(echo)

    async def direct(function: Any) -> None:
        for item in range(calls):
            await function(item)

    async def one_item_runs() -> None:
        for _ in range(calls):
            await ask.amap([1])

    async def gather_of_one() -> None:
        for _ in range(calls):
            await asyncio.gather(nothing(1))

    def direct_sync(function: Any) -> Way:
        def run() -> None:
            for item in range(calls):
                function(item)

        return run

    def map_of_one() -> None:
        for _ in range(calls):
            ask_sync.map([1])

    def executor_of_one() -> None:
        for _ in range(calls // 10):
            with ThreadPoolExecutor(1) as pool:
                list(pool.map(echo, [1]))

    runs: dict[str, AsyncWay] = {
        "await f(x), undecorated": lambda: direct(nothing),
        "await f(x), decorated": lambda: direct(ask),
        "await asyncio.gather(f(x))": gather_of_one,
        "await f.amap([x])": one_item_runs,
    }
    sync_runs: dict[str, Way] = {
        "f(x), undecorated": direct_sync(echo),
        "f(x), decorated": direct_sync(ask_sync),
        "f.map([x]), threads": map_of_one,
        "ThreadPoolExecutor(1).map(f, [x])": executor_of_one,
    }
    found = asyncio.run(interleave_async(runs, rounds)) | interleave(sync_runs, rounds)
    table = Table("one-call", "one call at a time", ["CPU us/call", "wall us/call"])
    for name, cost in found.items():
        count = calls // 10 if name.startswith("ThreadPool") else calls
        table.rows[name] = [cost.cpu / count * 1e6, cost.wall / count * 1e6]
    return table


def first_result(rounds: int) -> Table:
    """Of a lazy input of 100,000: milliseconds from the end of the first call to its result."""
    count = 100_000
    table = Table(
        "first-result", f"first result of {count} lazy items, 64 at once", ["ms after first call", "ms in all"]
    )

    async def ours() -> tuple[float, float]:
        ended: list[float] = []

        async def call(item: int) -> int:
            await asyncio.sleep(0)
            if not ended:
                ended.append(time.perf_counter())
            return item

        began = time.perf_counter()
        async with parallel_map(max_concurrency=64)(call).imap(item for item in range(count)) as results:
            async for _ in results:
                break
            now = time.perf_counter()
        return now - ended[0], now - began

    def ours_threads() -> tuple[float, float]:
        ended: list[float] = []

        def call(item: int) -> int:
            time.sleep(0)
            if not ended:
                ended.append(time.perf_counter())
            return item

        began = time.perf_counter()
        with parallel_map(max_concurrency=64)(call).imap(item for item in range(count)) as results:
            next(results)
            now = time.perf_counter()
        return now - ended[0], now - began

    async def as_completed() -> tuple[float, float]:
        ended: list[float] = []

        async def call(item: int) -> int:
            await asyncio.sleep(0)
            if not ended:
                ended.append(time.perf_counter())
            return item

        began = time.perf_counter()
        semaphore = asyncio.Semaphore(64)

        async def one(item: int) -> int:
            async with semaphore:
                return await call(item)

        tasks = [asyncio.create_task(one(item)) for item in range(count)]
        for first in asyncio.as_completed(tasks):
            await first
            break
        now = time.perf_counter()
        await asyncio.gather(*tasks)  # cancelling 100,000 that wait on a semaphore takes minutes on 3.13
        return now - ended[0], now - began

    def executor() -> tuple[float, float]:
        ended: list[float] = []

        def call(item: int) -> int:
            time.sleep(0)
            if not ended:
                ended.append(time.perf_counter())
            return item

        began = time.perf_counter()
        pool = ThreadPoolExecutor(64)
        next(pool.map(call, (item for item in range(count))))
        now = time.perf_counter()
        pool.shutdown(cancel_futures=True)
        return now - ended[0], now - began

    runs: dict[str, Any] = {
        "fanmap imap": lambda: asyncio.run(ours()),
        "fanmap imap, threads": ours_threads,
        "asyncio.as_completed + Semaphore": lambda: asyncio.run(as_completed()),
        "ThreadPoolExecutor.map": executor,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
    for name, pairs in found.items():
        table.rows[name] = [statistics.median(p[0] for p in pairs) * 1e3, statistics.median(p[1] for p in pairs) * 1e3]
    return table


def memory(count: int) -> Table:
    """`imap` over many lazy items, in an interpreter of its own: what it holds at its peak, and costs a call."""
    table = Table(
        "memory",
        f"{count} lazy items through imap, 64 at once (tracemalloc: a tenth of them)",
        ["RSS growth MB", "tracemalloc MB", "CPU us/call"],
    )
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(count)], check=True, capture_output=True, text=True
    )
    table.rows["fanmap imap"] = [float(number) for number in said.stdout.split()]
    return table


def imports(rounds: int) -> Table:
    """Each in a new interpreter, in turn, with the byte code written before: as it is once installed."""
    statements = {
        "nothing": "pass",
        "import asyncio, anyio, tenacity, aiolimiter": "import asyncio, anyio, tenacity, aiolimiter",
        "import fanmap": "import fanmap",
    }
    code = (
        "import time; b = (time.process_time(), time.perf_counter()); {}; "
        "print(time.process_time() - b[0], time.perf_counter() - b[1])"
    )
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in statements}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for place in range(3 * rounds + 1):
            for name, statement in statements.items():
                said = subprocess.run(
                    [sys.executable, "-c", code.format(statement)],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=environment,
                ).stdout.split()
                if place:  # the first one writes the byte code
                    found[name].append((float(said[0]), float(said[1])))
    cpu = {name: statistics.median(pair[0] for pair in pairs) for name, pairs in found.items()}
    wall = {name: statistics.median(pair[1] for pair in pairs) for name, pairs in found.items()}
    base = cpu["import asyncio, anyio, tenacity, aiolimiter"]
    table = Table("imports", "import time, each in a new interpreter", ["CPU ms", "/ its dependencies", "wall ms"])
    for name in statements:
        table.rows[name] = [cpu[name] * 1e3, cpu[name] / base, wall[name] * 1e3]
    return table
