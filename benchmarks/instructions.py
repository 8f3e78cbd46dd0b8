"""Instructions a call, which repeat to the digit on any machine, whatever else it does.

    python -m benchmarks.instructions [WAY ...] [--long 6000] [--short 2000] [--at-once 64]

Each way runs in a process of its own under valgrind (`--tool=callgrind`), once with many items and once with few; the
difference is what a call costs, without the start of Python and of the run. Limits never bind: what is measured is that
they are kept. Needs valgrind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.ways import gather_with_semaphore
from fanmap import Limits, Retry, gather_bounded, parallel_map
from fanmap._trace.target import Target

BASE = "gather with a semaphore"


async def call(item: Any) -> Any:
    await asyncio.sleep(0)
    return item


def amap(**options: Any) -> Callable[[range, int], Awaitable[object]]:
    return lambda items, at_once: parallel_map(limits=Limits(at_once, **options))(call).amap(items)


async def traced(items: range, at_once: int) -> object:
    """Noted, and not drawn."""
    Target.draw = lambda *_: None  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        return await parallel_map(limits=Limits(at_once))(call).amap(items, trace=f"{folder}/run.html")


async def imap(items: range, at_once: int) -> object:
    return [value async for value in parallel_map(max_concurrency=at_once)(call).imap(items)]


def all_options(items: range, at_once: int) -> Awaitable[object]:
    limits = Limits(at_once, rpm=1e9, tpm=1e12, max_wait=60.0)
    ask = parallel_map(limits=limits, retry=Retry(attempts=3), timeout=60.0)(call)
    return ask.amap(items, deadline=600.0, return_exceptions=True)


async def direct(items: range, at_once: int) -> object:
    ask = parallel_map(max_concurrency=at_once)(call)
    for item in items:
        await ask(item)
    return None


async def direct_bare(items: range, at_once: int) -> object:
    semaphore = asyncio.Semaphore(at_once)
    for item in items:
        async with semaphore:
            await call(item)
    return None


async def crowd(items: range, at_once: int) -> object:
    """All of them at once, waiting for 8 slots."""
    ask = parallel_map(max_concurrency=8)(call)
    return await asyncio.gather(*[ask(item) for item in items])


async def crowd_bare(items: range, at_once: int) -> object:
    return await gather_with_semaphore(call, items, 8)


def runs_of(size: int) -> Callable[[range, int], Awaitable[object]]:
    async def runs(items: range, at_once: int) -> object:
        limits = Limits(at_once)
        ask = parallel_map(limits=limits)(call)
        return [await ask.amap(items[first : first + size]) for first in range(0, len(items), size)]

    return runs


def gathers_of(size: int) -> Callable[[range, int], Awaitable[object]]:
    async def runs(items: range, at_once: int) -> object:
        return [
            await asyncio.gather(*[call(item) for item in items[first : first + size]])
            for first in range(0, len(items), size)
        ]

    return runs


async def runs_at_once(items: range, at_once: int) -> object:
    """Runs of 20, all at once under one Limits."""
    ask = parallel_map(limits=Limits(at_once))(call)
    return await asyncio.gather(*[ask.amap(items[first : first + 20]) for first in range(0, len(items), 20)])


async def gathers_at_once(items: range, at_once: int) -> object:
    semaphore = asyncio.Semaphore(at_once)

    async def one(item: Any) -> Any:
        async with semaphore:
            return await call(item)

    async def some(first: int) -> object:
        return await asyncio.gather(*[one(item) for item in items[first : first + 20]])

    return await asyncio.gather(*[some(first) for first in range(0, len(items), 20)])


# What each is compared with; None: it is itself what others are compared with.
WAYS: dict[str, tuple[Callable[[range, int], Awaitable[object]], str | None]] = {
    BASE: (lambda items, at_once: gather_with_semaphore(call, items, at_once), None),
    "amap": (amap(), BASE),
    "amap, trace=": (traced, "amap"),
    "imap": (imap, BASE),
    "gather_bounded of a generator": (
        lambda items, at_once: gather_bounded((call(item) for item in items), max_concurrency=at_once),
        BASE,
    ),
    "amap, rpm=": (amap(rpm=1e9), BASE),
    "amap, rpm= and tpm=": (amap(rpm=1e9, tpm=1e12), BASE),
    "amap, all options": (all_options, BASE),
    "direct calls under a semaphore": (direct_bare, None),
    "direct calls": (direct, "direct calls under a semaphore"),
    "all at once under a semaphore of 8": (crowd_bare, None),
    "direct calls, all at once, 8 slots": (crowd, "all at once under a semaphore of 8"),
    "gathers of 20 with one semaphore": (gathers_at_once, None),
    "runs of 20, all at once, one Limits": (runs_at_once, "gathers of 20 with one semaphore"),
    **{f"gathers of {size}": (gathers_of(size), None) for size in (1, 8, 20, 64)},
    **{f"runs of {size}": (runs_of(size), f"gathers of {size}") for size in (1, 8, 20, 64)},
}


def counted(way: str, items: int, at_once: int) -> int:
    command = [sys.executable, "-m", "benchmarks.instructions", "--one", way, str(items), str(at_once)]
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr[-1000:]
    return int(found[1])


def a_call(way: str, long: int, short: int, at_once: int) -> float:
    """Instructions."""
    return (counted(way, long, at_once) - counted(way, short, at_once)) / (long - short)


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        way, items, at_once = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

        async def run() -> None:
            await WAYS[way][0](range(items), at_once)

        asyncio.run(run())
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help="; ".join(WAYS))
    parser.add_argument("--long", type=int, default=6_000)
    parser.add_argument("--short", type=int, default=2_000)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    unknown = set(options.ways) - set(WAYS)
    if unknown:
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    if shutil.which("valgrind") is None:
        parser.error("valgrind is not installed")
    found: dict[str, float] = {}

    def of(way: str) -> float:
        if way not in found:
            found[way] = a_call(way, options.long, options.short, options.at_once)
        return found[way]

    print(f"Python {sys.version.split()[0]}, {options.long} minus {options.short} items, {options.at_once} at once")
    print(f"{'':38}{'instructions a call':>20}{'ratio':>8}")
    for way in options.ways or WAYS:
        base = WAYS[way][1]
        ratio = "" if base is None else f"{of(way) / of(base):8.3f}"
        print(f"{way:38}{of(way):20,.0f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
