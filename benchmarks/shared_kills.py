"""Processes of a group are killed at random moments and replaced, again and again: is a slot lost, or given out twice?

Each is forked from this process, which has imported what they need and has used no Limits, so that joining is fast.
A call's begin and end are one record each in a log that all append to; a killed process's calls end at its death.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from fanmap import Limits, parallel_map

SLOTS, MEMBERS = 12, 4
SETTLED = 3.0  # seconds at the end in which the slots must be used
_RECORD = struct.Struct("<dii")  # when, which process, what
_BEGINS, _ENDS, _KILLED = 1, -1, 0


@dataclass
class Survey:
    """What the log of a run says.

    Attributes:
        kills: how many.
        most: calls under way at once, at most.
        over: each time that it was more than there are slots: when, and how many.
        full_after: seconds from the last kill until all slots were in use.
        used: share of the slots that was used in the last seconds.
        gap: the longest time in which never all slots were in use.
        calls: that began.
        files: that are left beside the store's, where it is one.
    """

    kills: int
    most: int = 0
    over: list[tuple[float, int]] = field(default_factory=list)
    full_after: float = float("inf")
    used: float = 0.0
    gap: float = 0.0
    calls: int = 0
    files: int = 0


def run(place: str, kills: int, *, lease: float | None = None, pause: float = 0.3) -> Survey:
    """Kill one after the other, on average so many seconds apart; then see who has the slots."""
    _import_all(place)
    before = os.environ.get("FANMAP_LEASE")
    if lease is not None:
        os.environ["FANMAP_LEASE"] = str(lease)
    living: dict[int, int] = {}  # the number of each by its pid
    with tempfile.NamedTemporaryFile() as file:
        log = os.open(file.name, os.O_WRONLY | os.O_APPEND)
        try:
            for number in range(MEMBERS):
                living[_born(place, log, number)] = number
            time.sleep(1.0 + (lease or 0.0))
            for number in range(MEMBERS, MEMBERS + kills):
                time.sleep(random.uniform(0.0, 2 * pause))
                pid = random.choice(list(living))
                _note(log, living.pop(pid), _KILLED)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                living[_born(place, log, number)] = number
            time.sleep(2.0 + 2 * (lease or 0.0) + SETTLED)
        finally:
            end = time.monotonic()
            for pid in living:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            os.close(log)
            os.environ.pop("FANMAP_LEASE", None)
            if before is not None:
                os.environ["FANMAP_LEASE"] = before
        survey = read(Path(file.name).read_bytes(), end)
    survey.files = len(list(Path(place).parent.glob(f"{Path(place).name}*"))) - 1 if "://" not in place else 0
    return survey


def read(log: bytes, end: float) -> Survey:
    """Count it."""
    events = sorted(_RECORD.iter_unpack(log[: len(log) // _RECORD.size * _RECORD.size]), key=lambda it: (it[0], it[2]))
    survey = Survey(sum(what == _KILLED for *_, what in events))
    last_kill = max((at for at, _, what in events if what == _KILLED), default=0.0)
    under_way: dict[int, int] = {}
    dead: set[int] = set()
    held, busy, previous, last_full = 0, 0.0, end, None
    for at, number, what in events:
        if at > end - SETTLED:
            busy += held * (min(at, end) - max(previous, end - SETTLED))
        previous = min(at, end)
        if held >= SLOTS:
            last_full = at  # until now
        if what == _KILLED:
            held -= under_way.pop(number, 0)
            dead.add(number)
        elif number not in dead:
            under_way[number] = under_way.get(number, 0) + what
            held += what
            survey.calls += what == _BEGINS
        if what == _BEGINS and held > survey.most:
            survey.most = held
        if what == _BEGINS and held > SLOTS:
            survey.over.append((at, held))
        if held >= SLOTS:
            if last_full is not None:
                survey.gap = max(survey.gap, at - last_full)
            if at > last_kill:
                survey.full_after = min(survey.full_after, at - last_kill)
    survey.used = (busy + held * (end - previous)) / (SLOTS * SETTLED)
    return survey


def _born(place: str, log: int, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            random.seed()
            asyncio.run(_call_for_ever(place, log, number))
        finally:
            os._exit(1)
    return pid


def _note(log: int, number: int, what: int) -> None:
    os.write(log, _RECORD.pack(time.monotonic(), number, what))


async def _call_for_ever(place: str, log: int, number: int) -> None:
    @parallel_map(limits=Limits(SLOTS, shared=place))
    async def call(lasts: float) -> None:
        _note(log, number, _BEGINS)
        await asyncio.sleep(lasts)
        _note(log, number, _ENDS)

    async def caller() -> None:
        while True:
            await call(random.uniform(0.02, 0.05))

    await asyncio.gather(*(caller() for _ in range(SLOTS)))


def _import_all(place: str) -> None:
    """What a first call imports, and nothing that it opens."""

    @parallel_map(limits=Limits(1))
    async def nothing(_: int) -> None:
        pass

    asyncio.run(nothing(0))
    import fanmap._drive.shared.budget
    import fanmap._drive.shared.file

    if "://" in place:
        import fanmap._drive.shared.redis  # noqa: F401
