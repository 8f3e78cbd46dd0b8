"""One Limits over several processes, by a file and by Redis, and peers: a table of what is promised and what is found.

    python -m benchmarks.shared [SECONDS] [--kills N] [--only WORDS] [--store file|Redis]

A redis-server must be on the path for its column; a minute's rate is measured where a row has 10 seconds or more.
Processes are real, calls take 0.05 to 0.5 s, and what is said comes from the logs of when they began and ended. What
a process does is in `shared_processes`, the counting in `shared_counts`. A goal that is missed is bold.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import shared_counts as counts
from benchmarks import shared_kills, shared_peers
from benchmarks.shared_processes import Group, run
from benchmarks.shared_server import Served
from fanmap import Rate
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.shared.wanted import wanted


class Store(NamedTuple):
    """Where the limits are, and how soon the slots of a killed process are to be back."""

    name: str
    place: Callable[[], str]  # another one each time
    back: float
    lease: float | None  # a short one, where deaths are known by it alone
    pause: float  # seconds between kills


class Found(NamedTuple):
    """A cell, and whether it is as good as promised."""

    text: str
    good: bool = True


def slots(processes: int, callers: int, goal: float, store: Store, seconds: float) -> Found:
    """32 slots over so many processes."""
    used, most, jain = counts.used_of(run(processes, seconds, place=store.place(), callers=callers), 32)
    return Found(f"{used:.3f}, {most}, {jain:.3f}", used >= goal and most == 32)


def one_slot(store: Store, seconds: float) -> Found:
    """One slot over eight processes, each of which always has two callers."""
    parts = run(8, 2 * seconds, place=store.place(), slots=1, callers=2)
    (used, most, _), longest = counts.used_of(parts, 1), counts.longest_wait_of(parts)
    return Found(f"{used:.3f}, {most}, {longest:.1f} s", used >= 0.93 and most == 1 and longest <= 3.0)


def rate(amount: float, per: float, processes: int, goal: float, store: Store, seconds: float) -> Found:
    """A rate of all processes, and the best that its formula allows."""
    callers = 2 if amount == 1 else 400 // processes
    parts = run(processes, seconds, place=store.place(), slots=400, callers=callers, rate=[amount, per])
    worst, used = counts.window_of(parts, amount, per)
    best = wanted(Adaptive(), [Rate(amount, per)]).rates[0].refill * per / amount
    return Found(f"{worst}, {used:.3f} (best {best:.3f})", worst <= amount and used >= goal)


def slow_rate(store: Store, _: float) -> Found:
    """One call in three seconds, of eight processes."""
    parts = run(8, 30.0, place=store.place(), callers=2, rate=[1, 3.0])
    worst, used = counts.window_of(parts, 1, 3.0)
    each = [sum(sign > 0 for _, sign in part["log"]) for part in parts]
    return Found(f"{worst}, {used:.3f}, each {min(each)} to {max(each)}", worst <= 1 and min(each) >= 1)


def refusal(store: Store, seconds: float) -> Found:
    """A call of one process is told to wait 2 s, every 5 s."""
    moments = [3.0 + 5.0 * number for number in range(max(1, int(2 * seconds - 3) // 5))]
    parts = run(4, 2 * seconds, first={"refused": moments}, place=store.place(), callers=8)
    times, inside, late, last = counts.inside_of(parts, 2.0, 0.1)
    return Found(f"{inside}, {late}, {1000 * last:.0f} ms (worst of {times})", late == 0 and times == len(moments))


@cache
def ceiling(place: str | None, processes: int, server_slots: int, seconds: float) -> tuple[float, float, float]:
    """Processes find out how many a server takes: refused after the begin, and of all; share of its slots used."""
    server = Served(server_slots)
    parts = run(processes, 2.5 * seconds, place=place, slots="auto", callers=128 // processes, port=server.port)
    log = server.log()
    begin, end = parts[0]["begin"], parts[0]["end"]
    assert counts.most_of(log) <= server_slots
    used, _, _ = counts.used_of([{"begin": begin, "end": end, "log": log}], server_slots)
    return counts.refused_of(log, begin + counts.WARM, end), counts.refused_of(log, begin, end), used


def shared_ceiling(server_slots: int, goal: float, store: Store, seconds: float) -> Found:
    """One ceiling of all."""
    refused, of_all, used = ceiling(store.place(), 8, server_slots, seconds)
    return Found(f"{100 * refused:.1f} % ({100 * of_all:.1f} %), {used:.3f}", refused <= goal)


def own_ceiling(processes: int, server_slots: int, _: Store, seconds: float) -> Found:
    """Each its own; no store has to do with it, so that it is measured once."""
    refused, of_all, used = ceiling(None, processes, server_slots, seconds)
    return Found(f"{100 * refused:.1f} % ({100 * of_all:.1f} %), {used:.3f}")


def killed(store: Store, _: float) -> Found:
    """Seconds from the death of one of two processes until the other one has all slots."""
    group = Group(2, 16.0, slots=8, callers=8, lasts=[0.05, 0.1], place=store.place())
    victim = group.processes.pop()
    time.sleep(max(0.0, group.times["begin"] + 3.0 - time.monotonic()))
    died = time.monotonic()
    victim.kill()
    victim.communicate()
    held, after = 0, float("inf")
    for at, sign in group.told()[0]["log"]:
        held += sign
        if at > died and held == 8:
            after = min(after, at - died)
    return Found(f"{after:.2f} s", after <= store.back)


def kills(number: int, store: Store, _: float) -> Found:
    """Processes of a group are killed at random, and replaced."""
    seen = shared_kills.run(store.place(), number, lease=store.lease, pause=store.pause)
    for at, held in seen.over[:10]:
        print(f"{store.name}: {held} of {shared_kills.SLOTS} at once at {at:.3f}", file=sys.stderr)
    said = f"{seen.kills} kills, {seen.calls} calls, longest without all slots in use {seen.gap:.2f} s"
    print(f"{store.name}: {said}, {seen.files} files left", file=sys.stderr)
    lost = seen.used < 0.9 or seen.full_after == float("inf")
    return Found(
        f"{seen.most} of {shared_kills.SLOTS}; all in use {seen.full_after:.2f} s after the last, {seen.used:.3f} used",
        seen.most <= shared_kills.SLOTS and not lost,
    )


def cpu(store: Store, seconds: float) -> Found:
    """Milliseconds of CPU a call: shared, and above those of Limits of each process's own."""
    short: dict[str, Any] = {"lasts": [0.05, 0.1], "callers": 16}
    alone = counts.cpu_of(run(8, seconds, place=None, slots=4, **short))
    shared = counts.cpu_of(run(8, seconds, place=store.place(), slots=32, **short))
    return Found(f"{shared:.2f}, {shared - alone:.2f} ms", shared - alone <= 0.25)


def found_by(measure: Callable[[Store, float], Found], store: Store, seconds: float) -> Found:
    """A row that cannot be measured is said to be so, and the others are."""
    try:
        return measure(store, seconds)
    except (OSError, RuntimeError, ValueError, ZeroDivisionError) as error:
        return Found(f"not measured ({type(error).__name__})", False)


def rows(seconds: float, number: int) -> dict[str, tuple[str, Callable[[Store, float], Found]]]:
    """What is promised and how it is measured, by the name of the row."""
    found: dict[str, tuple[str, Callable[[Store, float], Found]]] = {}
    for processes, callers, goal in ((2, 32, 0.97), (8, 32, 0.97), (32, 4, 0.95)):
        name = f"32 slots, {processes} processes: used, most at once, Jain's index"
        found[name] = f"{goal}, 32", partial(slots, processes, callers, goal)
    found["1 slot, 8 processes: used, most at once, a process's longest wait"] = "0.93, 1, 3 s", one_slot
    found["1 per 3 s, 8 processes, 30 s: fullest window, used, starts of each process"] = "1", slow_rate
    for amount, per, processes, goal in ((120, 2, 8, 0.9), (50, 1, 8, 0.9), (500, 1, 2, 0.86), (500, 1, 8, 0.86)):
        name = f"{amount} per {per} s, {processes} processes: fullest window, used"
        found[name] = f"{amount}, {goal}", partial(rate, amount, float(per), processes, goal)
    if seconds >= 10:
        name = "500 per 60 s, 8 processes, 75 s: the same"
        found[name] = "500, 0.96", lambda store, _: rate(500, 60.0, 8, 0.96, store, 75.0)
    name = "one is told to wait 2 s, 4 processes: starts inside, those after 100 ms, the last after"
    found[name] = "0 after 100 ms", refusal
    for server_slots, share in ((4, 0.06), (16, 0.02), (64, 0.01)):
        name = f'"auto", a server of {server_slots} slots: refused (with the first 2 s), used'
        found[name] = f"{100 * share:g} %", partial(shared_ceiling, server_slots, share)
        found[f"{name}: each of the 8 processes its own ceiling"] = "", partial(own_ceiling, 8, server_slots)
        found[f"{name}: the same callers in one process"] = "", partial(own_ceiling, 1, server_slots)
    found["one of two processes killed: the other has all slots after"] = "0.5 s; the lease and 0.3 s", killed
    found[f"{number} kills at random, 4 processes: most at once, slots back"] = "12, all", partial(kills, number)
    found["CPU a call, 8 processes: in all, above an unshared Limits"] = "0.25 ms above", cpu
    return found


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


def peers(url: str, seconds: float) -> None:
    """The same rate over the same Redis."""
    print("\n| 120 per 2 s, 8 processes, one Redis | fullest window, used |\n|---|---|")
    for name in shared_peers.NAMES:
        subprocess.run(["redis-cli", "-u", url, "flushall"], stdout=subprocess.DEVNULL, check=False)
        try:
            worst, used = counts.window_of(run(8, seconds, who=name, place=url, callers=25, rate=[120, 2.0]), 120, 2.0)
            print(f"| {name} | {worst}, {used:.3f} |")
        except (RuntimeError, ValueError, ZeroDivisionError) as error:
            print(f"| {name} | not measured ({type(error).__name__}) |")


def main() -> None:
    """All of it, as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=float, default=12.0, help="of a row; some take longer")
    parser.add_argument("--kills", type=int, default=100, help="so many at random")
    parser.add_argument("--only", default="", help="rows whose names contain these words")
    parser.add_argument("--store", choices=["file", "Redis"])
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, names = server(stack), count()
        stores = [Store("file", lambda: str(folder / f"limits{next(names)}"), 0.5, None, 0.3)]
        if url is not None:
            stores.append(Store("Redis", lambda: f"{url}#limits{next(names)}", 10.3, 2.0, 0.5))
        stores = [store for store in stores if options.store in (None, store.name)]
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.seconds:g} s a row\n")
        print(f"| | promised | {' | '.join(store.name for store in stores)} |\n|---|---|{'---|' * len(stores)}")
        for name, (promised, measure) in rows(options.seconds, options.kills).items():
            if options.only in name:
                cells = [found_by(measure, store, options.seconds) for store in stores]
                shown = (found.text if found.good else f"**{found.text}**" for found in cells)
                print(f"| {name} | {promised} | {' | '.join(shown)} |", flush=True)
        if url is not None and not options.only:
            peers(url, options.seconds)


if __name__ == "__main__":
    main()
