"""Time for calls of lognormal latency, against the greedy schedule of the latencies as they were slept."""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import ways
from benchmarks.measure import Table

_ASYNC = ["fanmap amap, list", "fanmap imap, list", "fanmap map, background loop", "asyncio.gather + Semaphore",
          "aiometer run_all", "streamable map", "langchain-core abatch", "async-batch-llm"]  # fmt: skip
_THREADS = ["fanmap map", "fanmap imap", "ThreadPoolExecutor.map", "streamable map", "joblib threading"]


def greedy(slept: Iterable[float], at_once: int) -> float:
    """When the last call ends if each starts, in order, as soon as one of `at_once` places is free."""
    free = [0.0] * at_once
    for seconds in slept:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def table(calls: int, rounds: int, at_once: int) -> Table:
    """Every way once a round; medians of (time taken / greedy schedule)."""
    dice = random.Random(7)
    latencies = [0.02 * dice.lognormvariate(0.0, 0.6) for _ in range(calls)]
    slept = [0.0] * calls
    items = list(range(calls))

    async def call(item: Any) -> None:
        began = time.perf_counter()
        await asyncio.sleep(latencies[int(item)])
        slept[int(item)] = time.perf_counter() - began

    def blocking_call(item: Any) -> None:
        began = time.perf_counter()
        time.sleep(latencies[item])
        slept[item] = time.perf_counter() - began

    ratios: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}

    def note(name: str, wall: float, seconds: float) -> None:
        ratios.setdefault(name, []).append(wall / greedy(slept, at_once))
        cpu.setdefault(name, []).append(seconds)

    async def async_round(names: Sequence[str], usable: dict[str, ways.AsyncMap]) -> None:
        for name in names:
            if name in usable:
                began, before = time.perf_counter(), time.process_time()
                await usable[name](call, items, at_once)
                note(name, time.perf_counter() - began, time.process_time() - before)

    usable_async, no_async = asyncio.run(ways.usable_async())
    usable_threads, no_threads = ways.usable_threads()
    for _ in range(rounds):
        asyncio.run(async_round(_ASYNC, usable_async))
        for name in _THREADS:
            if name in usable_threads:
                began, before = time.perf_counter(), time.process_time()
                usable_threads[name](blocking_call, items, at_once)
                note(f"{name} (threads)", time.perf_counter() - began, time.process_time() - before)
    out = Table(
        f"latency-{at_once}",
        f"{calls} calls of lognormal latency (20 ms, sigma 0.6), {at_once} at once",
        ["time / greedy", "CPU us/call"],
    )
    for name in [*_ASYNC, *(f"{name} (threads)" for name in _THREADS)]:
        bare = name.removesuffix(" (threads)")
        missing = (no_threads if name != bare else no_async).get(bare)
        if missing is not None:
            out.rows[name] = missing
        else:
            out.rows[name] = [statistics.median(ratios[name]), statistics.median(cpu[name]) / calls * 1e6]
    return out
