"""One Limits over several processes: slots and rates used, the worst moment, fairness, CPU; file and Redis, and peers.

    python -m benchmarks.shared [SECONDS]        a redis-server must be on the path for its columns

Real processes, calls of 0.05 to 0.5 s. Each writes when its calls began and ended to a file of its own, by the one
clock of the machine; what is said comes from these files. The first and last parts of a run are left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fanmap import Limits, Rate, parallel_map

WARM = 2.0  # seconds that are left out at either end
Event = tuple[float, int]


# A process


def fanmap_call(place: str | None, slots: int, rate: list[float]) -> Callable[[Callable[[], Awaitable[None]]], Any]:
    """Calls under one shared Limits; without a place, under one of this process."""
    limits = Limits(slots, rate=[Rate(*rate)] if rate else (), shared=place)

    @parallel_map(limits=limits)
    async def call(work: Callable[[], Awaitable[None]]) -> None:
        await work()

    return call


def peer(name: str, url: str, rate: list[float]) -> Callable[[Callable[[], Awaitable[None]]], Any]:
    """A peer's limiter, as its documentation has it over Redis; a caller that may not start asks again in 20 ms."""
    amount, per = int(rate[0]), rate[1]
    import redis

    if name == "limits":
        import limits

        limiter: Any = limits.strategies.MovingWindowRateLimiter(limits.storage.storage_from_string(url))
        item = limits.RateLimitItemPerSecond(amount, int(per))
        try_one = lambda: limiter.hit(item, "bench")  # noqa: E731
    elif name == "pyrate-limiter":
        import pyrate_limiter

        rates = [pyrate_limiter.Rate(amount, int(per * 1000))]
        bucket = pyrate_limiter.RedisBucket.init(rates, redis.Redis.from_url(url), "bench")
        limiter = pyrate_limiter.Limiter(bucket)
        try_one = lambda: bool(limiter.try_acquire("bench", blocking=False))  # noqa: E731
    else:
        import throttled

        store = throttled.RedisStore(server=url)
        quota = throttled.rate_limiter.per_duration(__import__("datetime").timedelta(seconds=per), amount, burst=amount)
        limiter = throttled.Throttled(key="bench", using="gcra", quota=quota, store=store)
        try_one = lambda: not limiter.limit().limited  # noqa: E731

    async def call(work: Callable[[], Awaitable[None]]) -> None:
        while not await asyncio.to_thread(try_one):
            await asyncio.sleep(0.02)
        await work()

    return call


async def work_on(call: Any, options: dict[str, Any], log: list[Event]) -> tuple[int, float]:
    """Callers that ask again as soon as they are answered, until the time is over."""
    done, waits = 0, 0.0
    low, high = options["lasts"]

    async def caller() -> None:
        nonlocal done, waits
        while True:
            asked = time.monotonic()

            async def work(asked: float = asked) -> None:
                nonlocal done, waits
                waits = max(waits, time.monotonic() - asked)
                log.append((time.monotonic(), 1))
                try:
                    await asyncio.sleep(random.uniform(low, high))
                finally:
                    log.append((time.monotonic(), -1))
                    done += 1

            await call(work)

    await asyncio.sleep(max(0.0, options["begin"] - time.monotonic()))
    tasks = [asyncio.create_task(caller()) for _ in range(options["callers"])]
    await asyncio.sleep(max(0.0, options["end"] - time.monotonic()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done, waits


def process_main(options: dict[str, Any]) -> None:
    """One of the processes."""
    log: list[Event] = []
    if options["who"] == "fanmap":
        call = fanmap_call(options["place"], options["slots"], options["rate"])
    else:
        call = peer(options["who"], options["place"], options["rate"])

    async def nothing() -> None:
        pass

    asyncio.run(call(nothing))  # what the first call imports and opens is not measured
    print("ready", flush=True)
    options |= json.loads(sys.stdin.readline())
    began = time.process_time()
    done, waits = asyncio.run(work_on(call, options, log))
    cpu = time.process_time() - began
    print(json.dumps({"log": log, "done": done, "cpu": cpu, "longest": waits}), flush=True)


# All of them


class Group:
    """So many processes with the same options, which begin at one moment."""

    def __init__(self, count: int, seconds: float, **options: Any) -> None:
        given = {"who": "fanmap", "rate": [], "slots": 32, "callers": 32, "lasts": [0.05, 0.5]} | options
        command = [sys.executable, "-m", "benchmarks.shared", "--process", json.dumps(given)]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
        begin = time.monotonic() + 0.5
        self.times = {"begin": begin, "end": begin + seconds}
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(self.times) + "\n")
            process.stdin.flush()

    def told(self) -> list[dict[str, Any]]:
        """What each of them did."""
        return [json.loads(process.communicate()[0]) | self.times for process in self.processes]


def run(count: int, seconds: float, **options: Any) -> list[dict[str, Any]]:
    """What each of so many processes did."""
    return Group(count, seconds, **options).told()


def used_of(parts: list[dict[str, Any]], slots: int) -> tuple[float, int, float]:
    """Share of the slots in use, the most at once, and Jain's index over the processes."""
    first, last = parts[0]["begin"] + WARM, parts[0]["end"] - 0.5
    each = []
    for part in parts:
        busy = sum(max(first, min(last, at)) * -sign for at, sign in part["log"])
        each.append(busy)
    events = sorted((at, sign) for part in parts for at, sign in part["log"])
    held = most = 0
    for _, sign in events:
        held += sign
        most = max(most, held)
    jain = sum(each) ** 2 / (len(each) * sum(one * one for one in each))
    return sum(each) / (slots * (last - first)), most, jain


def window_of(parts: list[dict[str, Any]], amount: float, per: float) -> tuple[int, float]:
    """The most starts in any window, and the share of the rate that was used."""
    first, last = parts[0]["begin"] + WARM, parts[0]["end"]
    starts = sorted(at for part in parts for at, sign in part["log"] if sign > 0)
    worst = max(bisect_left(starts, at + per) - place for place, at in enumerate(starts)) if starts else 0
    return worst, sum(first <= at < last for at in starts) / (amount / per * (last - first))


def cpu_of(parts: list[dict[str, Any]]) -> float:
    """Milliseconds of CPU a call, imports and all."""
    return 1000 * sum(part["cpu"] for part in parts) / sum(part["done"] for part in parts)


def killed(place: str, seconds: float) -> float:
    """Seconds from the death of one of two processes until the other one has all slots."""
    group = Group(2, 4.0 + seconds, slots=8, callers=8, lasts=[0.05, 0.1], place=place)
    victim = group.processes.pop()
    time.sleep(max(0.0, group.times["begin"] + 3.0 - time.monotonic()))
    died = time.monotonic()
    victim.kill()
    victim.communicate()
    held = 0
    for at, sign in group.told()[0]["log"]:
        held += sign
        if at > died and held == 8:
            return at - died
    return float("inf")


def server(stack: ExitStack) -> str | None:
    """A redis-server of this benchmark's own."""
    program = shutil.which("redis-server")
    if program is None:
        return None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    time.sleep(1.0)
    return f"redis://127.0.0.1:{port}/0"


def figures(place: Callable[[], str], seconds: float) -> dict[str, str]:
    """The rows of one store."""
    rows: dict[str, str] = {}
    for count in (2, 8):
        used, most, jain = used_of(run(count, seconds, place=place()), 32)
        rows[f"32 slots, {count} processes: used, most at once, Jain"] = f"{used:.3f}, {most}, {jain:.3f}"
    parts = run(8, 2 * seconds, place=place(), slots=1, callers=2)
    used, most, _ = used_of(parts, 1)
    longest = max(part["longest"] for part in parts) / 2  # two callers stand one behind the other
    rows["1 slot, 8 processes: used, most, a process's longest wait"] = f"{used:.3f}, {most}, {longest:.1f} s"
    for amount, per, count in ((120, 2.0, 8), (500, 1.0, 2)):
        parts = run(count, seconds, place=place(), slots=400, callers=400 // count, rate=[amount, per])
        worst, share = window_of(parts, amount, per)
        rows[f"{amount} per {per:g} s, {count} processes: worst window, used"] = f"{worst}, {share:.3f}"
    rows["kill -9 of one of two: the other has all slots after"] = f"{killed(place(), 12.0):.2f} s"
    short: dict[str, Any] = {"lasts": [0.05, 0.1], "callers": 16}
    alone = cpu_of(run(8, seconds, place=None, slots=4, **short))
    shared = cpu_of(run(8, seconds, place=place(), slots=32, **short))
    rows["CPU a call, 8 processes: shared, and above an unshared one"] = f"{shared:.2f}, {shared - alone:.2f} ms"
    return rows


def peers(url: str, seconds: float) -> dict[str, str]:
    """The same rate over the same Redis."""
    rows = {}
    for name in ("pyrate-limiter", "limits", "throttled-py"):
        subprocess.run(["redis-cli", "-u", url, "flushall"], stdout=subprocess.DEVNULL, check=False)
        try:
            parts = run(8, seconds, who=name, place=url, callers=25, rate=[120, 2.0])
            worst, share = window_of(parts, 120, 2.0)
            rows[name] = f"{worst}, {share:.3f}"
        except (ValueError, ZeroDivisionError) as error:
            rows[name] = f"not measured ({type(error).__name__})"
    return rows


def main() -> None:
    """All of it, as a table in Markdown."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 12.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = server(stack)
        names = iter(range(1000))
        columns = {"file": figures(lambda: str(folder / f"limits{next(names)}"), seconds)}
        if url is not None:
            columns["Redis"] = figures(lambda: f"{url}#limits{next(names)}", seconds)
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n\n| | {' | '.join(columns)} |\n|---|"
            + "---|" * len(columns)
        )
        for row in columns["file"]:
            print(f"| {row} | {' | '.join(column[row] for column in columns.values())} |")
        if url is not None:
            print("\n| 120 per 2 s, 8 processes, one Redis | worst window, used |\n|---|---|")
            for name, said in peers(url, seconds).items():
                print(f"| {name} | {said} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        process_main(json.loads(sys.argv[2]))
    else:
        main()
