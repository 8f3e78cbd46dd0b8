"""What it costs to keep results: a run with a journal beside one without, and beside pyarallel's checkpoint.

    python -m benchmarks --only journal

The function does nothing and returns 1 kB of text; eight at once; a new file for every run.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import Table, Way, interleave
from fanmap import parallel_map

TEXT = "an answer " * 100
WORKERS = 8


@parallel_map(max_concurrency=WORKERS)
def ask(item: int) -> str:
    return f"{item} {TEXT}"


@parallel_map(max_concurrency=WORKERS)
async def aask(item: int) -> str:
    return f"{item} {TEXT}"


def _plain(item: int) -> str:
    return f"{item} {TEXT}"


def _ways(directory: Path, items: range) -> dict[str, Way]:
    names = itertools.count()

    def new() -> Path:
        return directory / f"journal-{next(names)}"

    full = new()
    ask.map(items, resume=full)
    ways: dict[str, Way] = {
        "map": lambda: ask.map(items),
        "map, resume": lambda: ask.map(items, resume=new()),
        "map, resume, all there": lambda: ask.map(items, resume=full),
        "map, resume, durable": lambda: ask.map(items, resume=new(), durable=True),
        "amap": lambda: asyncio.run(aask.amap(items)),
        "amap, resume": lambda: asyncio.run(aask.amap(items, resume=new())),
        "amap, resume, durable": lambda: asyncio.run(aask.amap(items, resume=new(), durable=True)),
    }
    try:
        from pyarallel import parallel_map as theirs
    except ImportError:
        return ways
    done = new()
    run: Callable[..., Any] = theirs
    run(_plain, items, workers=WORKERS, checkpoint=done)
    ways["pyarallel"] = lambda: run(_plain, items, workers=WORKERS)
    ways["pyarallel, checkpoint"] = lambda: run(_plain, items, workers=WORKERS, checkpoint=new())
    ways["pyarallel, checkpoint, all there"] = lambda: run(_plain, items, workers=WORKERS, checkpoint=done)
    return ways


def table(count: int, rounds: int) -> Table:
    """Microseconds an item, and what of it is the file's."""
    columns = ["CPU us", "wall us", "file: CPU us", "file: wall us"]
    found = Table("journal", f"Keeping {count:,} results of 1 kB, {WORKERS} at once", columns)
    with tempfile.TemporaryDirectory() as directory:
        costs = interleave(_ways(Path(directory), range(count)), rounds)
    for name, cost in costs.items():
        bare = costs[name.split(",")[0]]
        found.rows[name] = [
            1e6 * seconds / count
            for seconds in (cost.cpu, cost.wall, cost.cpu - bare.cpu, cost.wall - bare.wall)
        ]  # fmt: skip
    if "pyarallel" not in costs:
        found.rows["pyarallel"] = "not installed"
    return found
