"""2,000 calls through the real openai clients against the loopback server in another process.

python -m benchmarks.real_clients [--calls 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import ways
from benchmarks.measure import Cost, Table, cost_of, cost_of_async

_SERVER = """
import sys
from fanmap.testing import serve
with serve(latency=float(sys.argv[1])) as server:
    print(server.openai_url, flush=True)
    sys.stdin.read()
"""


def http_library() -> Any:
    """Whichever of httpx and httpx2 the openai client is built on."""
    import openai

    packages = {kind.__module__.partition(".")[0] for kind in openai.DefaultHttpxClient.__mro__}
    return importlib.import_module("httpx2" if "httpx2" in packages else "httpx")


@contextmanager
def server(latency: float = 0.02) -> Iterator[str]:
    """One in a process of its own, so that none of its work is counted; its address."""
    command = [sys.executable, "-c", _SERVER, str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def table(calls: int, rounds: int, at_once: int) -> Table:
    """Every way once a round, each with a new client; this process's CPU, and wall."""
    import openai

    items = list(range(calls))
    message = "Say hello to number {}."
    found: dict[str, list[Cost]] = {}
    with server() as url:

        async def async_run(way: ways.AsyncMap) -> Cost:
            # No repeats of its own: what a way costs, not what the client makes of a slow server.
            async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:

                async def ask(item: Any) -> str | None:
                    reply = await client.chat.completions.create(
                        model="small", messages=[{"role": "user", "content": message.format(item)}]
                    )
                    return reply.choices[0].message.content

                await ask(0)
                return await cost_of_async(lambda: way(ask, items, at_once))

        def thread_run(way: ways.ThreadMap) -> Cost:
            with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:

                def ask(item: Any) -> str | None:
                    reply = client.chat.completions.create(
                        model="small", messages=[{"role": "user", "content": message.format(item)}]
                    )
                    return reply.choices[0].message.content

                ask(0)
                return cost_of(lambda: way(ask, items, at_once))

        for _ in range(rounds):
            for name in ("asyncio.gather + Semaphore", "fanmap amap, list", "fanmap imap, list"):
                found.setdefault(f"AsyncOpenAI, {name}", []).append(asyncio.run(async_run(ways.ASYNC[name])))
            for name in ("ThreadPoolExecutor.map", "fanmap map", "fanmap imap"):
                found.setdefault(f"OpenAI, {name}", []).append(thread_run(ways.THREADS[name]))
    out = Table(
        f"real-{at_once}",
        f"{calls} calls of the real openai clients, {at_once} at once, server in another process",
        ["CPU us/call", "wall s", "CPU / baseline", "wall / baseline"],
    )
    base = {"AsyncOpenAI": "AsyncOpenAI, asyncio.gather + Semaphore", "OpenAI": "OpenAI, ThreadPoolExecutor.map"}
    cpu = {name: statistics.median(cost.cpu for cost in costs) for name, costs in found.items()}
    wall = {name: statistics.median(cost.wall for cost in costs) for name, costs in found.items()}
    for name in found:
        against = base[name.split(",")[0]]
        out.rows[name] = [cpu[name] / calls * 1e6, wall[name], cpu[name] / cpu[against], wall[name] / wall[against]]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    began = time.perf_counter()
    for at_once in (64, 256):
        print(table(options.calls, options.rounds, at_once))
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
