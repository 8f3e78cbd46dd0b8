"""What a batch costs this process: CPU beside the client's own calls, and memory while nobody waits.

    python -m benchmarks.batches [--items 100000] [--instructions] [--rounds 5]

Figures of `ask.batch`: capture and replay together cost at most 1.2 times the client's own CPU for the call; 100,000
items fit in 300 MB, and no thread or task of theirs waits while batches run. That 1,000 kills at every step pay nothing
twice and lose nothing is a test: `pytest -m nightly tests/integration/test_killed_batches.py`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Table
from benchmarks.real_clients import server

# Arguments: the URL, how many calls, "client" or "batch", "def" or "async def", a file that is not there.
_CALLS = """
import asyncio, sys, time
import openai
from fanmap import parallel_map
url, calls, way, colour, file = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
settings = {"base_url": url, "api_key": "none", "max_retries": 0, "timeout": 600}
options = {"resume": file, "poll": 0.01, "endpoints": (url,), "durable": False, "max_concurrency": 16}

def asked(number):
    return {"model": "small", "messages": [{"role": "user", "content": f"Say hello to number {number}."}]}

def blocking():
    with openai.OpenAI(**settings) as client:
        def call(number: int) -> str:
            return client.chat.completions.create(**asked(number)).choices[0].message.content
        ask = parallel_map(call)
        call(-1)
        if way == "batch":  # what the first one imports is no call's
            ask.batch([-2], **{**options, "resume": file + "-first"})
        began = time.process_time()
        if way == "client":
            for number in range(calls):
                call(number)
        else:
            ask.batch(range(calls), **options)
        return time.process_time() - began

async def awaiting():
    async with openai.AsyncOpenAI(**settings) as client:
        async def call(number: int) -> str:
            return (await client.chat.completions.create(**asked(number))).choices[0].message.content
        ask = parallel_map(call)
        await call(-1)
        if way == "batch":
            await ask.abatch([-2], **{**options, "resume": file + "-first"})
        began = time.process_time()
        if way == "client":
            for number in range(calls):
                await call(number)
        else:
            await ask.abatch(range(calls), **options)
        return time.process_time() - began

print((blocking() if colour == "def" else asyncio.run(awaiting())) / calls * 1e6)
"""
_MANY = """
import asyncio, resource, sys, threading
import httpx
from fanmap import parallel_map
url, items, colour, file = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
waiting = [0, 0]

def look(progress):
    if progress.batches:
        waiting[0] = max(waiting[0], threading.active_count())
        if colour != "def":
            waiting[1] = max(waiting[1], len(asyncio.all_tasks()))

options = {"resume": file, "poll": 1.0, "endpoints": (url,), "durable": False, "progress": look}

def body(number):
    return {"model": "small", "input": f"Say hello to number {number}."}

def text(answer):
    answer.raise_for_status()
    return answer.json()["output"][0]["content"][0]["text"]

def blocking():
    with httpx.Client() as client:
        def ask(number: int) -> str:
            return text(client.post(url + "/responses", json=body(number)))
        return parallel_map(ask).batch(range(items), **options)

async def awaiting():
    async with httpx.AsyncClient() as client:
        async def ask(number: int) -> str:
            return text(await client.post(url + "/responses", json=body(number)))
        return await parallel_map(ask).abatch(range(items), **options)

answers = blocking() if colour == "def" else asyncio.run(awaiting())
assert len(set(answers)) == items
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, *waiting)
"""
_COLOURS = ("def", "async def")


def _run(script: str, *words: object, tool: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [*tool, sys.executable, "-c", script, *map(str, words), str(Path(folder) / "job.jsonl")]
        return subprocess.run(command, capture_output=True, text=True, check=True)


def cpu(rounds: int, calls: int = 300) -> Table:
    """CPU of chat calls of openai's clients one after the other, and in a batch, in turns: the lowest of each."""
    table = Table(
        "batches-cpu",
        f"CPU of a chat call of openai's client, {calls} calls, {rounds} times in turns: the lowest",
        ["client us", "batch us", "batch / client"],
    )
    with server(latency=0.0) as url:
        for colour in _COLOURS:
            found: dict[str, list[float]] = {"client": [], "batch": []}
            for _ in range(rounds):
                for way, costs in found.items():
                    costs.append(float(_run(_CALLS, url, calls, way, colour).stdout))
            low = {way: min(costs) for way, costs in found.items()}
            table.rows[colour] = [low["client"], low["batch"], low["batch"] / low["client"]]
    return table


def instructions() -> Table:
    """The same in machine instructions, which are the same on a busy machine; by valgrind, which takes minutes."""
    tool = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")

    def counted(url: str, calls: int, way: str, colour: str) -> int:
        said = _run(_CALLS, url, calls, way, colour, tool=tool).stderr
        found = re.search(r"I +refs: +([0-9,]+)", said)
        assert found is not None, said
        return int(found[1].replace(",", ""))

    table = Table(
        "batches-instructions",
        "Instructions of a chat call of openai's client: 260 calls less 60",
        ["client thousands", "batch thousands", "batch / client"],
    )
    with server(latency=0.0) as url:
        for colour in _COLOURS:
            found = {
                way: (counted(url, 260, way, colour) - counted(url, 60, way, colour)) / 200
                for way in ("client", "batch")
            }
            table.rows[colour] = [found["client"] / 1e3, found["batch"] / 1e3, found["batch"] / found["client"]]
    return table


def memory(items: int) -> Table:
    """The most memory that a process with so many items ever has, and who waits while its batches run."""
    table = Table("batches-memory", f"{items} items in batches", ["MB at most", "threads", "tasks"])
    with server(latency=0.0) as url:
        for colour in _COLOURS:
            said = _run(_MANY, url, items, colour).stdout
            table.rows[colour] = [float(one) for one in said.split()]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--instructions", action="store_true", help="count them, too; needs valgrind")
    options = parser.parse_args()
    print(cpu(options.rounds))
    print(memory(options.items))
    if options.instructions:
        print(instructions())


if __name__ == "__main__":
    main()
