"""`imap` over many lazy items, alone in its interpreter: prints MB of RSS growth, MB traced, CPU µs a call.

python -m benchmarks.memory [1000000]
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Iterator

from benchmarks.calls import suspend_once
from benchmarks.measure import cost_of_async
from fanmap import parallel_map


def resident_mb() -> float:
    """Of this process, now; nan where /proc is not there."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 1e6
    except OSError:
        return float("nan")


async def main(count: int) -> list[float]:
    """One run that warms up, one that is measured, one that is traced."""
    ask = parallel_map(max_concurrency=64)(suspend_once)
    peak = 0.0

    def items(many: int) -> Iterator[int]:
        yield from range(many)

    async def through(many: int) -> None:
        nonlocal peak
        seen = 0
        async for value in ask.imap(items(many)):
            assert value == seen
            seen += 1
            if seen % 10_000 == 0:
                peak = max(peak, resident_mb())
        assert seen == many

    await through(10_000)
    gc.collect()
    before = resident_mb()
    peak = 0.0
    cost = await cost_of_async(lambda: through(count))
    grown = peak - before
    tracemalloc.start()
    await through(count // 10)
    return [grown, tracemalloc.get_traced_memory()[1] / 1e6, cost.cpu / count * 1e6]


if __name__ == "__main__":
    print(*asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
