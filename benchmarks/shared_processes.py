"""One of the processes of `benchmarks.shared`, and a group of them that begins at one moment.

Callers ask again as soon as they are answered, until the time is over. Each process keeps when its calls began and
ended, [when, +1 | -1], and [when, 0] where one was refused, by the one clock of the machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.shared_peers import peer
from benchmarks.shared_server import ask
from fanmap import Limits, Rate, Verdict, parallel_map
from fanmap._policy.shared import troubles

Event = tuple[float, int]
Part = dict[str, Any]  # what a process did: log, done, cpu, and begin and end of the whole
_GIVEN: dict[str, Any] = {
    "who": "fanmap",
    "rate": [],  # amount, per
    "slots": 32,
    "callers": 32,  # of each process
    "lasts": [0.05, 0.5],  # seconds of a call
    "port": None,  # of a server that is asked; None: a call sleeps
    "refused": [],  # seconds after the begin from which on one call each is told to wait
    "wait": 2.0,  # for so many seconds
}


class Refused(Exception):
    """A call was not served."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def fanmap_call(options: Part) -> Callable[[Callable[[], Awaitable[None]]], Any]:
    """Calls under one shared Limits; without a place, under one of this process."""
    limits = Limits(
        options["slots"],
        rate=[Rate(*options["rate"])] if options["rate"] else (),
        classify=lambda error: error.verdict if isinstance(error, Refused) else None,
        shared=options["place"],
    )

    @parallel_map(limits=limits)
    async def call(work: Callable[[], Awaitable[None]]) -> None:
        await work()

    return call


async def work_on(call: Any, options: Part, log: list[Event]) -> int:
    """Callers, until the time is over; how many calls were answered."""
    done = 0
    low, high = options["lasts"]
    refusals = [options["begin"] + after for after in options["refused"]]

    async def caller() -> None:
        port = options["port"]
        server = None if port is None else await asyncio.open_connection("127.0.0.1", port)

        async def work() -> None:
            nonlocal done
            now = time.monotonic()
            if refusals and now >= refusals[0]:
                del refusals[0]
                log.append((now, 0))
                raise Refused(Verdict("rate", options["wait"]))
            log.append((now, 1))
            try:
                if server is None:
                    await asyncio.sleep(random.uniform(low, high))
                elif not await ask(server, random.uniform(low, high)):
                    raise Refused(Verdict("concurrency"))
                done += 1
            finally:
                log.append((time.monotonic(), -1))

        while True:
            await call(work)

    await asyncio.sleep(max(0.0, options["begin"] - time.monotonic()))
    tasks = [asyncio.create_task(caller()) for _ in range(options["callers"])]
    await asyncio.sleep(max(0.0, options["end"] - time.monotonic()))
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(error, asyncio.CancelledError):
            raise AssertionError("a caller ended before the time") from error
    return done


def process_main(options: Part) -> None:
    """One of the processes."""
    troubles.FIRST_PATIENCE = 120.0  # a busy machine may be late with a server's first answer
    log: list[Event] = []
    call = fanmap_call(options) if options["who"] == "fanmap" else peer(
        options["who"], options["place"], options["rate"]
    )  # fmt: skip

    async def nothing() -> None:
        pass

    asyncio.run(call(nothing))  # what the first call imports and opens is not measured
    print("ready", flush=True)
    options |= json.loads(sys.stdin.readline())
    began = time.process_time()
    done = asyncio.run(work_on(call, options, log))
    print(json.dumps({"log": log, "done": done, "cpu": time.process_time() - began}), flush=True)


class Group:
    """So many processes with the same options, which begin at one moment; the first may have others, too."""

    def __init__(self, count: int, seconds: float, first: Part | None = None, **options: Any) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.shared_processes",
                 json.dumps(_GIVEN | options | ((first or {}) if number == 0 else {}))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for number in range(count)
        ]  # fmt: skip
        for process in self.processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                for one in self.processes:
                    one.kill()
                raise RuntimeError("a process did not begin")
        begin = time.monotonic() + 0.5
        self.times = {"begin": begin, "end": begin + seconds}
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(self.times) + "\n")
            process.stdin.flush()

    def told(self) -> list[Part]:
        """What each of them did."""
        said = [process.communicate()[0] for process in self.processes]
        return [json.loads(one) | self.times for one in said]


def run(count: int, seconds: float, **options: Any) -> list[Part]:
    """What each of so many processes did."""
    return Group(count, seconds, **options).told()


if __name__ == "__main__":
    process_main(json.loads(sys.argv[1]))
