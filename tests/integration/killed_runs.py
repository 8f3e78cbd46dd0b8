"""Runs with a journal that are killed (SIGKILL); a program of its own, because it forks.

    python tests/integration/killed_runs.py ROUNDS SEED DIRECTORY

Each round forks a process that goes on with the same journal, and that is killed: once so many calls have begun, all
of which then stand still ("held") or go on ("free"); or by itself within one of its writes, before it, in the middle
of the line, or after it ("torn"). Nothing is timed: what is waited for is progress. After each round: every
acknowledged result is in the file, no key has two results, and no more calls lack a result than were under way. A
journal that is complete is begun anew. Prints what was done; ends with an AssertionError where one does not hold.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from fanmap import parallel_map
from fanmap._drive.journals import journal_file
from fanmap._policy.journals.journal import Reading, read_line

ITEMS, WORKERS = 60, 8
TEXT = "an answer of some length, ü漢🎈 " * 20
PATIENCE = 300  # seconds without progress after which a process hangs


class Torn:
    """`os`, which kills this process in the middle of its n-th write."""

    def __init__(self, at, share):
        self.at, self.share = at, share

    def __getattr__(self, name):
        return self.write if name == "write" else getattr(os, name)

    def write(self, fd, line):
        self.at -= 1
        if self.at == 0:
            os.write(fd, bytes(line)[: round(self.share * len(line))])
            os.kill(os.getpid(), signal.SIGKILL)
        return os.write(fd, line)


def tell(fd, index):
    os.write(fd, b"%d\n" % index)


def told(path):
    return [int(line) for line in path.read_bytes().split()] if path.exists() else []


def work(directory, chance, is_async, held_from, began):
    """The process that will be killed.

    Args:
        held_from: which call stands still, and every later one; None: none does.
        began: a pipe that is told of each call.
    """
    called, acknowledged = (
        os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("called", "acknowledged")
    )
    seconds = [chance.uniform(0.0005, 0.004) for _ in range(ITEMS)]
    options = {"resume": directory / "journal", "key": str, "durable": chance.random() < 0.2}
    calls = iter(range(ITEMS))

    def begin(index):
        number = next(calls)
        tell(called, index)
        os.write(began, b".")
        return PATIENCE if held_from is not None and number >= held_from else seconds[index]

    @parallel_map(max_concurrency=WORKERS)
    def ask(index):
        time.sleep(begin(index))
        return f"{index} {TEXT}"

    @parallel_map(max_concurrency=WORKERS)
    async def aask(index):
        await asyncio.sleep(begin(index))
        return f"{index} {TEXT}"

    async def main():
        async for outcome in aask.as_completed(range(ITEMS), **options):
            tell(acknowledged, outcome.index)

    if is_async:
        asyncio.run(main())
    else:
        for outcome in ask.as_completed(range(ITEMS), **options):
            tell(acknowledged, outcome.index)


def results(path):
    """Index to text of what the journal holds; no key twice."""
    data = path.read_bytes() if path.exists() else b""
    reading = Reading()
    for line in data.splitlines(keepends=True):
        reading.add(line)
    assert not reading.skipped
    said = [read_line(line) for line in data[: reading.end].splitlines(keepends=True)]
    found = [(line["key"], line["index"], line["value"]) for line in said if line is not None]
    keys = collections.Counter(key for key, _, _ in found)
    assert max(keys.values(), default=1) == 1, "a key has two results"
    return {index: value for _, index, value in found}


def kill_after(child, calls, began):
    """Kill it once so many calls have begun, or let it end."""
    while calls > 0:
        assert select.select([began], [], [], PATIENCE)[0], "the process hangs"
        more = os.read(began, calls)
        if not more:
            return
        calls -= len(more)
    os.kill(child, signal.SIGKILL)


def play(rounds, seed, directory):
    chance = random.Random(seed)
    count = collections.Counter()
    names = {False: 0, True: 0}  # a journal of its own for each kind of function
    for number in range(rounds):
        is_async = number % 2 == 1
        how = ("held", "torn", "free")[number // 2 % 3]
        here = directory / f"{'async' if is_async else 'def'}-{names[is_async]}"
        here.mkdir(exist_ok=True)
        before, calls = results(here / "journal"), len(told(here / "called"))
        left = ITEMS - len(before)
        after = chance.randint(1, min(left, (4 if how == "torn" else 2) * WORKERS))
        torn = Torn(after, chance.choice([0.0, chance.random(), 1.0]))
        began, say = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(began)
                if how == "torn":
                    journal_file.os = torn
                work(here, random.Random(number), is_async, after - 1 if how == "held" else None, say)
                status = 0
            finally:
                os._exit(status)
        os.close(say)
        kill_after(child, ITEMS + 1 if how == "torn" else after, began)
        os.close(began)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or (how == "free" and os.WEXITSTATUS(status) == 0), f"round {number} failed"
        held = results(here / "journal")
        assert before.items() <= held.items(), "a result was lost"
        assert set(told(here / "acknowledged")) <= set(held), "an acknowledged result was lost"
        assert all(value == f"{index} {TEXT}" for index, value in held.items())
        paid = len(told(here / "called")) - calls
        lost = paid - (len(held) - len(before))
        assert 0 <= lost <= WORKERS, f"{lost} calls lack a result, with {WORKERS} under way at most"
        count["rounds"] += 1
        count[f"killed {how}"] += os.WIFSIGNALED(status)
        count["killed while calling"] += bool(os.WIFSIGNALED(status) and lost)
        count["calls"] += paid
        count["calls under way when killed"] += lost
        if len(held) == ITEMS:
            count["journals completed"] += 1
            names[is_async] += 1
    return count


if __name__ == "__main__":
    print(json.dumps(play(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
