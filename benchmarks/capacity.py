"""How near to what a server bears the engine comes: simulated servers in virtual time, one run a seed.

The calls go through `parallel_map(...).amap` as a user's do; only the clock and the server are simulated.
"""

from __future__ import annotations

import asyncio
import bisect
import random
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from fanmap import Adaptive, Limits, Rate, parallel_map
from fanmap._drive.limits.limits import budget_of
from fanmap.testing import SimulatedAPIError, VirtualTime

ROUND_TRIP = 0.02  # seconds until a refusal is back
LATENCY, SIGMA = 1.0, 0.6  # of an answer: median seconds, spread of the lognormal


def too_many(limit: int) -> SimulatedAPIError:
    """What OpenAI's compatible servers say of a crowd: a 429 that names no wait."""
    body = {"message": f"Too many concurrent requests: {limit}", "code": "concurrent_request_limit_exceeded"}
    return SimulatedAPIError("Too many concurrent requests", 429, {}, body)


@dataclass
class Server:
    """Serves `slots(now)` calls at once and refuses one more.

    Attributes:
        slots: capacity over time; calls that are served already are not thrown out when it falls.
        served: (time, calls served) after each change.
    """

    slots: Callable[[float], int]
    seed: int
    now: Callable[[], float]
    calls: int = 0
    refused: int = 0
    in_flight: int = 0
    served: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    async def __call__(self, item: int) -> int:
        self.calls += 1
        slots = self.slots(self.now())
        if self.in_flight >= slots:
            self.refused += 1
            await asyncio.sleep(ROUND_TRIP)
            raise too_many(slots)
        self._count(1)
        try:
            await asyncio.sleep(LATENCY * self._chance.lognormvariate(0.0, SIGMA))
        finally:
            self._count(-1)
        return item

    def _count(self, change: int) -> None:
        self.in_flight += change
        self.served.append((self.now(), self.in_flight))

    def used(self, until: float) -> float:
        """Share of the capacity that was used from 0 to `until`; what is over it after a fall does not count."""
        used = had = 0.0
        steps = [(0.0, 0), *self.served]
        for (begin, in_flight), (end, _) in zip(steps, [*steps[1:], (until, 0)], strict=True):
            end = min(end, until)
            if end <= begin:
                continue
            capacity = self.slots(begin)
            used += min(in_flight, capacity) * (end - begin)
            had += capacity * (end - begin)
        return used / had


@dataclass(frozen=True)
class Case:
    """A server, the setting it is met with, and how long."""

    name: str
    slots: Callable[[float], int]
    concurrency: Adaptive
    seconds: float
    wanted: tuple[float, float]  # used at least, refused at most


CASES = (
    Case("64 slots", lambda _: 64, Adaptive(), 200.0, (0.94, 0.01)),
    Case("64 falling to 16", lambda now: 64 if now < 100 else 16, Adaptive(), 200.0, (0.94, 0.05)),
    Case("4 slots", lambda _: 4, Adaptive(), 200.0, (0.85, 0.10)),
    Case("500 slots", lambda _: 500, Adaptive(maximum=2000), 200.0, (0.94, 0.01)),
)


def run_case(case: Case, seed: int) -> tuple[float, float, Limits, Server]:
    """One run: share of the capacity used, share of the calls refused."""
    limits = Limits(case.concurrency)
    budget_of(limits).random.seed(seed)
    with VirtualTime() as virtual:
        server = Server(case.slots, seed, virtual.now)
        ask = parallel_map(limits=limits)(server.__call__)

        async def main() -> None:
            # An endless input, left after so many seconds: no tail in which too little is left to do.
            results = ask.as_completed(iter(int, 1))
            async with results:
                async for outcome in results:
                    if outcome.error is not None:
                        raise outcome.error
                    if virtual.now() >= case.seconds:
                        break

        virtual.run(main())
        return server.used(case.seconds), server.refused / server.calls, limits, server


def _shares(job: tuple[int, int]) -> tuple[float, float]:
    place, seed = job
    return run_case(CASES[place], seed)[:2]


def median_and_worst(values: list[float], worst: Callable[[list[float]], float]) -> dict[str, float]:
    return {"median": statistics.median(values), "worst": worst(values)}


def adaptive_table(seeds: int) -> dict[str, dict[str, object]]:
    """Share of capacity used, share of calls refused, over that many seeds; the slow start is part of it."""
    table: dict[str, dict[str, object]] = {}
    with ProcessPoolExecutor(2) as pool:
        jobs = [(place, seed) for place in range(len(CASES)) for seed in range(seeds)]
        shares = iter(list(pool.map(_shares, jobs, chunksize=5)))
    for case in CASES:
        runs = list(islice(shares, seeds))
        table[case.name] = {
            "used": median_and_worst([used for used, _ in runs], min),
            "refused": median_and_worst([refused for _, refused in runs], max),
            "wanted": {"used": case.wanted[0], "refused": case.wanted[1]},
        }
    return table


def rate_table() -> dict[str, dict[str, float]]:
    """A Rate of so many a second under steady demand: share of it used, most starts in any second."""
    return {f"{amount}/s": _rate_run(amount) for amount in (1, 7, 50, 500, 2000)}


def _rate_run(amount: int) -> dict[str, float]:
    seconds = max(10.0, min(300.0, 6000 / amount))
    starts: list[float] = []
    with VirtualTime() as virtual:

        @parallel_map(max_concurrency=max(4, amount // 10), rate=Rate(amount, 1.0))
        async def ask(item: int) -> int:
            starts.append(virtual.now())
            await asyncio.sleep(0.02)
            return item

        virtual.run(ask.amap(range(int(amount * seconds))))
    # Half-open: a start exactly one second later is in the next window. The clock's own rounding is no start.
    windows = (bisect.bisect_left(starts, start + 1.0 - 1e-9) - place for place, start in enumerate(starts))
    return {
        "used": (len(starts) - 1) / (starts[-1] - starts[0]) / amount,
        "most in a window": max(windows),
        "amount": amount,
    }
