"""Does a call cost the same whatever there is of it: items, workers, waiting callers?

python -m benchmarks.growth [--most 1000000] [--waiting 50000]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from benchmarks.calls import suspend_once
from benchmarks.measure import Table, cost_of_async
from fanmap import Limits, Rate, parallel_map


def items(most: int) -> Table:
    """1,000 to `most` items, 64 at once; small runs are repeated, so that all sizes do as many calls."""
    table = Table("growth-items", "CPU of a call by items of one run, 64 at once", ["amap us/call", "imap us/call"])
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most]
    ask = parallel_map(max_concurrency=64)(suspend_once)

    async def imap(size: int) -> None:
        async for _ in ask.imap(range(size)):
            pass

    async def main() -> None:
        found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for _ in range(5):
            for size in sizes:
                times = max(1, min(100, 100_000 // size))

                async def amaps(size: int = size, times: int = times) -> None:
                    for _ in range(times):
                        await ask.amap(range(size))

                async def imaps(size: int = size, times: int = times) -> None:
                    for _ in range(times):
                        await imap(size)

                first, second = await cost_of_async(amaps), await cost_of_async(imaps)
                found[size].append((first.cpu / size / times, second.cpu / size / times))
        for size in sizes:
            table.rows[f"{size} items"] = [statistics.median(pair[i] for pair in found[size]) * 1e6 for i in (0, 1)]

    asyncio.run(main())
    return table


def workers(calls: int = 100_000) -> Table:
    """8 to 2,048 at once."""
    table = Table("growth-workers", f"CPU of a call by workers, {calls} items", ["amap us/call", "imap us/call"])
    sizes = [8, 64, 512, 2048]

    async def main() -> None:
        found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for _ in range(5):
            for size in sizes:
                ask = parallel_map(max_concurrency=size)(suspend_once)

                async def imap(ask: object = ask) -> None:
                    async for _ in ask.imap(range(calls)):  # type: ignore[attr-defined]
                        pass

                first, second = await cost_of_async(lambda ask=ask: ask.amap(range(calls))), await cost_of_async(imap)
                found[size].append((first.cpu / calls, second.cpu / calls))
        for size in sizes:
            table.rows[f"{size} at once"] = [statistics.median(pair[i] for pair in found[size]) * 1e6 for i in (0, 1)]

    asyncio.run(main())
    return table


def waiting(callers: int) -> Table:
    """Direct calls that all wait on one Limits: cost of each, and wake-ups for each that got its turn."""
    from fanmap._drive.drivers import aio_waiter  # looks inside: wake-ups cannot be seen from outside

    table = Table("growth-waiting", "callers that wait on one Limits", ["CPU us/caller", "wake-ups/grant"])
    counted = [0]
    wait = aio_waiter.Waiter.wait

    async def counting(self: aio_waiter.Waiter, seconds: float | None) -> None:
        await wait(self, seconds)
        counted[0] += 1

    async def run(limits: Limits, many: int) -> list[float]:
        ask = parallel_map(limits=limits)(suspend_once)
        counted[0] = 0

        async def everybody() -> None:
            await asyncio.gather(*[ask(item) for item in range(many)])

        cost = await cost_of_async(everybody)
        return [cost.cpu / many * 1e6, counted[0] / many]

    aio_waiter.Waiter.wait = counting  # type: ignore[method-assign]
    try:
        for many in (callers // 10, callers):
            table.rows[f"{many} callers, 8 slots"] = asyncio.run(run(Limits(8), many))
            table.rows[f"{many} callers, 8 slots, a rate"] = asyncio.run(run(Limits(8, rate=Rate(10_000, 1.0)), many))
    finally:
        aio_waiter.Waiter.wait = wait  # type: ignore[method-assign]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=50_000)
    options = parser.parse_args()
    began = time.perf_counter()
    for table in (items(options.most), workers(), waiting(options.waiting)):
        print(table)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
