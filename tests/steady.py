"""Runs the tests again and again on a busy machine, and says whether they were green each time.

    python tests/steady.py [--times 10] [--busy 2] [--workers 0,2] [--preempt] [--log FILE] PYTHON ...
        [-- ARGUMENTS OF PYTEST]

Every PYTHON has the package with its test extra installed. As many other processes as `--busy` says compute all the
while. With `--preempt` (Linux, as root) any thread of the tests may stand still for up to a second between any two of
its byte codes, as on a machine that is far too busy: what a test assumes of the scheduler is found in a few runs. Each
run is in another random order, whose seed is in its line, with other examples; `--workers 0,2` takes turns between one
process and `-n 2`. A line a run; what failed is below it. Ends with 1 where any run was not green.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from random import SystemRandom, choice, random

ROOT = Path(__file__).parents[1]
LAST_LINE = re.compile(r"^(?:=+ )?(\d+ (?:passed|failed|skipped|error).* in [\d.]+s.*?)(?: =+)?$", re.MULTILINE)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Other processes that compute, so that the tests share the cores with them."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextmanager
def preempted(mark: str) -> Iterator[None]:
    """Threads of processes with this in their environment are of the idle class now and then."""
    over, still = threading.Event(), dict[int, float]()

    def threads() -> Iterator[int]:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is somebody else's
                if mark.encode() in (process / "environ").read_bytes():
                    yield from (int(name) for name in os.listdir(process / "task"))

    def look() -> None:
        while not over.wait(0.02):
            now = time.monotonic()
            for thread in [thread for thread, until in still.items() if until < now]:
                del still[thread]
                with suppress(OSError):
                    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
            for thread in threads():
                if thread not in still and random() < 0.01:
                    still[thread] = now + choice((0.03, 0.1, 0.3, 1.0))
                    with suppress(OSError):
                        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def run(python: str, workers: str, seed: int, more: list[str], *, preempt: bool) -> tuple[bool, str, str]:
    """One run: was it green, its line, and what there is to say of failures."""
    command = [python, "-m", "pytest", "-q", f"--randomly-seed={seed}", *more]
    if workers != "0":
        command += ["-n", workers]
    began = time.monotonic()
    mark = f"FANMAP_STEADY={seed}"
    fresh = {**os.environ, "FANMAP_FRESH": "1", "FANMAP_STEADY": str(seed)}
    with preempted(mark) if preempt else nullcontext():
        done = subprocess.run(command, cwd=ROOT, env=fresh, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    last = LAST_LINE.findall(done.stdout)
    said = last[-1] if last else f"ended with {done.returncode}, without a last line"
    line = f"{version:14} -n {workers} seed {seed:<10} {seconds:6.0f} s  {said}"
    return done.returncode == 0, line, "" if done.returncode == 0 else done.stdout[-20_000:] + done.stderr[-5_000:]


def main() -> int:
    """Everything that was asked for."""
    words = sys.argv[1:]
    more = words[words.index("--") + 1 :] if "--" in words else []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--preempt", action="store_true")
    parser.add_argument("--log", type=Path)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    asked = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    turns = asked.workers.split(",")
    red = 0

    def say(text: str) -> None:
        print(text, flush=True)
        if asked.log is not None:
            with asked.log.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    with busy(asked.busy):
        say(f"{os.cpu_count()} cores, {asked.busy} other busy processes")
        for python in asked.pythons:
            for number in range(asked.times):
                seed, workers = SystemRandom().getrandbits(31), turns[number % len(turns)]
                green, line, failures = run(python, workers, seed, more, preempt=asked.preempt)
                red += not green
                say(f"{'green' if green else 'RED'}  {line}")
                if failures:
                    say(failures)
    say("every run was green" if not red else f"{red} runs were not green")
    return int(bool(red))


if __name__ == "__main__":
    sys.exit(main())
