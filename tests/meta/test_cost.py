"""What a call costs, in byte codes: the same on every machine, whatever else it does.

Counted are the byte codes of fanmap's own modules, a call, in a run that does nothing else: the difference
of a long run and a short one, so that what a run costs once drops out. A figure that rises by more than
10 % is a regression or a decision: then run this file, read its output, and record the new figure with it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import fanmap
from fanmap import Limits, gather_bounded, parallel_map
from fanmap._drive import clock, telemetry

RECORDED: dict[str, dict[str, float]] = {
    # python: {way: byte codes a call}
    "3.11": {
        "amap": 501,
        "amap under a rate": 916,
        "amap of a generator": 730,
        "imap": 785,
        "gather_bounded": 621,
        "gather_bounded of a generator": 746,
        "a direct call": 1399,
    },
    "3.12": {
        "amap": 482,
        "amap under a rate": 847,
        "amap of a generator": 696,
        "imap": 741,
        "gather_bounded": 580,
        "gather_bounded of a generator": 711,
        "a direct call": 1299,
    },
    "3.13": {
        "amap": 470,
        "amap under a rate": 841,
        "amap of a generator": 711,
        "imap": 742,
        "gather_bounded": 579,
        "gather_bounded of a generator": 728,
        "a direct call": 1317,
    },
    "3.14": {
        "amap": 492,
        "amap under a rate": 900,
        "amap of a generator": 751,
        "imap": 793,
        "gather_bounded": 607,
        "gather_bounded of a generator": 770,
        "a direct call": 1392,
    },
}
ROOM = 1.10
TRACED = 45  # what a trace may cost, which is about 0.3 µs
HERE = str(Path(fanmap.__file__).parent)
PYTHON = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture(autouse=True)
def _without_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process may have imported OpenTelemetry."""
    monkeypatch.setattr(telemetry, "found", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)


async def call(item: Any) -> Any:
    await asyncio.sleep(0)
    return item


def byte_codes(run: Callable[[], Any]) -> int:
    """Byte codes that fanmap's modules execute in this thread, which is where asyncio runs, while this runs."""
    return monitored(run) if hasattr(sys, "monitoring") else traced(run)


def monitored(run: Callable[[], Any]) -> int:
    monitoring = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    counted, here = 0, threading.get_ident()

    def count(code: CodeType, offset: int) -> Any:
        nonlocal counted
        if not code.co_filename.startswith(HERE):
            return monitoring.DISABLE
        counted += threading.get_ident() == here  # and not in one that another test has left
        return None

    tool = 4
    monitoring.use_tool_id(tool, "fanmap-cost")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, count)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        run()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
        monitoring.restart_events()
    return counted


def traced(run: Callable[[], Any]) -> int:
    """As `monitored`, for Python 3.11."""
    counted = 0

    def within(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal counted
        counted += event == "opcode"
        return within

    def entered(frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(HERE):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return within

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        run()
    finally:
        sys.settrace(before)
    return counted


async def _imap(ask: Any, many: int) -> None:
    async for _ in ask.imap(range(many)):
        pass


def ways() -> dict[str, Callable[[int], Any]]:
    ask = parallel_map(max_concurrency=8)(call)

    async def positional(many: int) -> None:
        await gather_bounded(*[call(item) for item in range(many)], max_concurrency=8)

    async def lazily(many: int) -> None:
        await gather_bounded((call(item) for item in range(many)), max_concurrency=8)

    async def amap(many: int) -> None:
        await ask.amap(range(many))

    paced = parallel_map(limits=Limits(8, rpm=1e9))(call)

    async def under_a_rate(many: int) -> None:
        await paced.amap(range(many))

    async def amap_of_generator(many: int) -> None:
        await ask.amap(item for item in range(many))

    async def direct(many: int) -> None:
        for item in range(many):
            await ask(item)

    return {
        "amap": amap,
        "amap under a rate": under_a_rate,
        "amap of a generator": amap_of_generator,
        "imap": lambda many: _imap(ask, many),
        "gather_bounded": positional,
        "gather_bounded of a generator": lazily,
        "a direct call": direct,
    }


def byte_codes_a_call(way: Callable[[int], Any]) -> float:
    short, long = 400, 1_200
    asyncio.run(way(short))  # what is made once, is
    gc.collect()
    gc.disable()  # or what other tests have left is finalized meanwhile, and counted
    ticks = itertools.count(clock.now(), 1e-3)
    before = clock.install(lambda: next(ticks))  # or it depends on the machine which calls are among the slowest
    try:
        counts = [byte_codes(lambda many=many: asyncio.run(way(many))) for many in (short, long)]
    finally:
        clock.install(before)
        gc.enable()
    return (counts[1] - counts[0]) / (long - short)


@pytest.mark.skipif(PYTHON not in RECORDED, reason="no figure is recorded for this Python")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.whole if name in ("amap of a generator", "gather_bounded") else ())
        for name in ways()
    ],
)
def test_a_call_costs_no_more_byte_codes_than_recorded(name: str) -> None:
    recorded = RECORDED[PYTHON][name]
    found = byte_codes_a_call(ways()[name])
    assert found <= recorded * ROOM, f"{name}: {found:.0f} byte codes a call, recorded are {recorded:.0f}"


@pytest.mark.whole
def test_recording_a_call_costs_few_byte_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the same run without; drawing is not counted."""
    from fanmap._trace.target import Target

    monkeypatch.setattr(Target, "draw", lambda *_: None)
    ask = parallel_map(max_concurrency=8)(call)

    async def traced(many: int) -> None:
        await ask.amap(range(many), trace=tmp_path / "run.html")

    more = byte_codes_a_call(traced) - byte_codes_a_call(ways()["amap"])
    assert more <= TRACED, f"{more:.0f} byte codes a call"


if __name__ == "__main__":
    print(f'    "{PYTHON}": {{')
    for name, way in ways().items():
        print(f'        "{name}": {byte_codes_a_call(way):.0f},')
    print("    },")
