"""What a call costs in the client, which is where one process ends: each mapped by fanmap, at the loopback server.

    python -m benchmarks.clients [--calls 2000] [--rounds 3] [--at-once 64]

CPU of this process alone; the server has one of its own. 1,000 / (CPU ms a call) is how many calls a second one core
can make at most. Then the same by `fanmap run`, with one process and with two. Needs openai[aiohttp], uvloop and
requests; what is not installed is said.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, Table, cost_of, cost_of_async
from benchmarks.real_clients import http_library, server
from fanmap import parallel_map

_JOB = """import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["ADDRESS"], api_key="none", max_retries=0)


def ask(prompt: str) -> str | None:
    message = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model="small", messages=message).choices[0].message.content
"""

Ask = Callable[[Any], Awaitable[Any]]
Opened = Callable[[str], AbstractAsyncContextManager[Ask]]


def body(item: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": f"Say hello to number {item}."}]}


def openai_client(url: str, **options: Any) -> Any:
    import openai

    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60, **options)


def through(client: Any) -> Ask:
    async def ask(item: Any) -> Any:
        reply = await client.chat.completions.create(**body(item))
        return reply.choices[0].message.content

    return ask


@asynccontextmanager
async def as_it_comes(url: str) -> Any:
    async with openai_client(url) as client:
        yield through(client)


@asynccontextmanager
async def over_aiohttp(url: str) -> Any:
    import openai

    async with openai_client(url, http_client=openai.DefaultAioHttpClient()) as client:
        yield through(client)


@asynccontextmanager
async def anew_each_time(url: str) -> Any:
    async def ask(item: Any) -> Any:
        async with openai_client(url) as client:
            return await through(client)(item)

    yield ask


@asynccontextmanager
async def bare_httpx(url: str) -> Any:
    async with http_library().AsyncClient(timeout=60) as client:

        async def ask(item: Any) -> Any:
            reply = await client.post(f"{url}/chat/completions", json=body(item))
            return reply.raise_for_status().json()["choices"][0]["message"]["content"]

        yield ask


@asynccontextmanager
async def bare_aiohttp(url: str) -> Any:
    import aiohttp

    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def ask(item: Any) -> Any:
            async with session.post(f"{url}/chat/completions", json=body(item)) as reply:
                return (await reply.json())["choices"][0]["message"]["content"]

        yield ask


FIRST = "AsyncOpenAI, as it comes"
# How it is opened, whether under uvloop, what it needs, and the share of the calls that is made.
TASKS: dict[str, tuple[Opened, bool, tuple[str, ...], float]] = {
    FIRST: (as_it_comes, False, (), 1),
    "AsyncOpenAI under uvloop": (as_it_comes, True, ("uvloop",), 1),
    "AsyncOpenAI(http_client=DefaultAioHttpClient())": (over_aiohttp, False, ("aiohttp",), 1),
    "the same under uvloop": (over_aiohttp, True, ("aiohttp", "uvloop"), 1),
    "a new AsyncOpenAI for each call": (anew_each_time, False, (), 0.05),
    "httpx alone": (bare_httpx, False, (), 1),
    "aiohttp alone": (bare_aiohttp, False, ("aiohttp",), 1),
    "aiohttp alone, under uvloop": (bare_aiohttp, True, ("aiohttp", "uvloop"), 1),
}


def in_tasks(name: str, url: str, calls: int, at_once: int) -> Cost:
    """Microseconds a call, of CPU and of the wall."""
    opened, fast_loop, _, share = TASKS[name]
    some = max(1, round(calls * share))

    async def main() -> Cost:
        async with opened(url) as ask:
            await ask(0)
            found = await cost_of_async(lambda: parallel_map(max_concurrency=at_once)(ask).amap(range(some)))
        return Cost(found.cpu / some * 1e6, found.wall / some * 1e6)

    if not fast_loop:
        return asyncio.run(main())
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def in_threads(name: str, url: str, calls: int, at_once: int) -> Cost:
    """The same, of a client that blocks."""
    import openai
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=at_once))

    def by_requests(item: Any) -> Any:
        reply = session.post(f"{url}/chat/completions", json=body(item), timeout=60)
        reply.raise_for_status()
        return reply.json()["choices"][0]["message"]["content"]

    with session, openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:

        def by_openai(item: Any) -> Any:
            return client.chat.completions.create(**body(item)).choices[0].message.content

        ask: Any = by_openai if name.startswith("OpenAI") else by_requests
        ask(0)
        found = cost_of(lambda: parallel_map(max_concurrency=at_once)(ask).map(range(calls)))
    return Cost(found.cpu / calls * 1e6, found.wall / calls * 1e6)


THREADS = ("OpenAI in threads", "requests in threads, one Session")


def table(calls: int, rounds: int, at_once: int) -> Table:
    """Each once a round, with a client of its own."""
    found: dict[str, list[Cost]] = {}
    out = Table(
        "clients",
        f"{calls} chat completions by fanmap, {at_once} at once",
        ["CPU ms/call", "calls/s a core", "calls/s measured", "CPU / the first"],
    )
    for name, (_, _, needed, _) in TASKS.items():
        missing = [package for package in needed if find_spec(package) is None]
        if missing:
            out.rows[name] = f"not installed: {', '.join(missing)}"
    with server(latency=0.0) as url:
        for _ in range(rounds):
            for name in TASKS:
                if name not in out.rows:
                    found.setdefault(name, []).append(in_tasks(name, url, calls, at_once))
            for name in THREADS:
                found.setdefault(name, []).append(in_threads(name, url, calls, at_once))
    first = statistics.median(cost.cpu for cost in found[FIRST])
    for name, costs in found.items():
        cpu, wall = (statistics.median(getattr(cost, what) for cost in costs) for what in ("cpu", "wall"))
        out.rows[name] = [cpu / 1e3, 1e6 / cpu, 1e6 / wall, cpu / first]
    return out


def processes(calls: int, rounds: int) -> Table:
    """`fanmap run` over a file, with one process and with two; the start of Python is taken out."""
    out = Table("processes", f"fanmap run over {calls} rows, the OpenAI client, 64 at once", ["wall s", "calls/s"])
    with server(latency=0.0) as url, tempfile.TemporaryDirectory() as place:
        Path(place, "job.py").write_text(_JOB)
        for name, rows in (("few.csv", 64), ("in.csv", calls + 64)):
            with Path(place, name).open("w", newline="") as file:
                csv.writer(file).writerows([["prompt"], *([f"Say hello to number {row}."] for row in range(rows))])
        environment = {**os.environ, "ADDRESS": url}

        def seconds(file: str, count: int) -> float:
            command = [sys.executable, "-m", "fanmap", "run", "job:ask", file, "-o", "out.csv", "--no-resume"]
            command += ["--max-concurrency", "64", "--processes", str(count)]
            began = time.perf_counter()
            subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)
            Path(place, "out.csv").unlink()
            return time.perf_counter() - began

        for count in (1, 2):
            wall = statistics.median(seconds("in.csv", count) - seconds("few.csv", count) for _ in range(rounds))
            out.rows[f"--processes {count}"] = [wall, calls / wall]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    print(table(options.calls, options.rounds, options.at_once))
    print(processes(options.calls, options.rounds))


if __name__ == "__main__":
    main()
