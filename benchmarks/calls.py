"""CPU and wall time a call: calls that do nothing, that suspend once, that release the GIL."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from typing import Any

from benchmarks import ways
from benchmarks.measure import AsyncWay, Cost, Table, Way, interleave, interleave_async


async def nothing(item: Any) -> Any:
    return item


async def suspend_once(item: Any) -> Any:
    await asyncio.sleep(0)
    return item


def release_gil(item: Any) -> Any:
    time.sleep(0)
    return item


def _counts(names: Any, calls: int) -> dict[str, int]:
    return {name: max(calls // 10, 200) if name in ways.SLOW else calls for name in names}


def async_tables(calls: int, rounds: int, at_once: int) -> list[Table]:
    """No-op and one suspension, every async way."""

    async def main() -> list[Table]:
        usable, missing = await ways.usable_async()
        tables: list[Table] = []
        for function, what in ((nothing, "do nothing"), (suspend_once, "suspend once")):
            counts = _counts(usable, calls)
            runs: dict[str, AsyncWay] = {
                name: functools.partial(way, function, list(range(counts[name])), at_once)
                for name, way in usable.items()
            }
            found = await interleave_async(runs, rounds)
            base = found["asyncio.gather + Semaphore"].cpu / calls
            table = Table(
                f"async-{function.__name__}",
                f"async calls that {what}: {calls} (slow ways: a tenth), {at_once} at once",
                ["CPU us/call", "/ gather+sem", "wall us/call"],
            )
            for name in ways.ASYNC:
                if name in missing:
                    table.rows[name] = missing[name]
                else:
                    cost, count = found[name], counts[name]
                    table.rows[name] = [cost.cpu / count * 1e6, cost.cpu / count / base, cost.wall / count * 1e6]
            tables.append(table)
        return tables

    return asyncio.run(main())


def thread_table(calls: int, rounds: int, at_once: int) -> Table:
    """Calls that release the GIL, every way with threads, and above a bare loop in as many threads."""
    calls = calls // at_once * at_once
    usable, missing = ways.usable_threads()
    counts = _counts(usable, calls)

    def bare_loop() -> None:
        def loop() -> None:
            for item in range(calls // at_once):
                release_gil(item)

        threads = [threading.Thread(target=loop) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    runs: dict[str, Way] = {"bare loop": bare_loop}
    for name, way in usable.items():
        runs[name] = functools.partial(way, release_gil, list(range(counts[name])), at_once)
    counts["bare loop"] = calls
    found = interleave(runs, rounds)

    def a_call(name: str, cost: Cost) -> float:
        return cost.cpu / counts[name]

    loop = a_call("bare loop", found["bare loop"])
    base = a_call("ThreadPoolExecutor.map", found["ThreadPoolExecutor.map"]) - loop
    table = Table(
        f"threads-{at_once}",
        f"calls that release the GIL: {calls} (slow ways: a tenth), {at_once} threads; x = CPU above a bare loop",
        ["CPU us/call", "x / x of executor", "wall us/call"],
    )
    for name in ["bare loop", *ways.THREADS]:
        if name in missing:
            table.rows[name] = missing[name]
        else:
            cpu = a_call(name, found[name])
            table.rows[name] = [cpu * 1e6, (cpu - loop) / base, found[name].wall / counts[name] * 1e6]
    return table
