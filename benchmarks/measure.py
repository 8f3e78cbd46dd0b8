"""How everything here is measured: CPU time of the process and wall time, ways in turn, medians of rounds."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Way = Callable[[], object]
AsyncWay = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one run: of the process's CPU, all threads together, and of the wall clock."""

    cpu: float
    wall: float


@dataclass(slots=True)
class Table:
    """One table of results.

    Attributes:
        title: what was done, and with what.
        columns: of every row, in order.
        rows: name of a way to its values; a string says why there are none.
    """

    key: str
    title: str
    columns: list[str]
    rows: dict[str, list[float] | str] = field(default_factory=dict[str, "list[float] | str"])

    def __str__(self) -> str:
        width = max([len(name) for name in self.rows] + [20]) + 2
        lines = ["", self.title, " " * width + "".join(f"{name:>18}" for name in self.columns)]
        for name, row in self.rows.items():
            shown = row if isinstance(row, str) else "".join(f"{value:18.3g}" for value in row)
            lines.append(f"{name:{width}}{shown:>18}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        rows = {
            name: row if isinstance(row, str) else [float(f"{v:.4g}") for v in row] for name, row in self.rows.items()
        }
        return {"title": self.title, "columns": self.columns, "rows": rows}


def cost_of(run: Way) -> Cost:
    """Run it once."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


async def cost_of_async(run: AsyncWay) -> Cost:
    """Await it once."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await run()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def interleave(ways: Mapping[str, Way], rounds: int) -> dict[str, Cost]:
    """Medians of rounds in which every way runs once, in turn, after one that does not count."""
    for run in ways.values():
        run()
    return _medians([{name: cost_of(run) for name, run in ways.items()} for _ in range(rounds)])


async def interleave_async(ways: Mapping[str, AsyncWay], rounds: int) -> dict[str, Cost]:
    """As `interleave`."""
    for run in ways.values():
        await run()
    return _medians([{name: await cost_of_async(run) for name, run in ways.items()} for _ in range(rounds)])


def _medians(rounds: list[dict[str, Cost]]) -> dict[str, Cost]:
    return {
        name: Cost(
            statistics.median(one[name].cpu for one in rounds), statistics.median(one[name].wall for one in rounds)
        )
        for name in rounds[0]
    }
