"""What a call costs, in byte codes: the same on every machine, whatever else it does.

Counted are the byte codes of fanmap's own modules, a call, in a run that does nothing else: the difference
of a long run and a short one, so that what a run costs once drops out. A figure that rises by more than
10 % is a regression or a decision: then run this file, read its output, and record the new figure with it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import fanmap
from fanmap import gather_bounded, parallel_map

RECORDED: dict[str, dict[str, float]] = {
    # python: {way: byte codes a call}
    "3.11": {
        "amap": 423,
        "amap of a generator": 507,
        "imap": 617,
        "gather_bounded": 539,
        "gather_bounded of a generator": 515,
        "a direct call": 1291,
    },
    "3.12": {
        "amap": 403,
        "amap of a generator": 474,
        "imap": 588,
        "gather_bounded": 503,
        "gather_bounded of a generator": 480,
        "a direct call": 1208,
    },
    "3.13": {
        "amap": 396,
        "amap of a generator": 478,
        "imap": 595,
        "gather_bounded": 508,
        "gather_bounded of a generator": 489,
        "a direct call": 1218,
    },
}
ROOM = 1.10
HERE = str(Path(fanmap.__file__).parent)
PYTHON = ".".join(map(str, sys.version_info[:2]))


async def call(item: Any) -> Any:
    await asyncio.sleep(0)
    return item


def byte_codes(run: Callable[[], Any]) -> int:
    """Byte codes that fanmap's modules execute while this runs."""
    return monitored(run) if hasattr(sys, "monitoring") else traced(run)


def monitored(run: Callable[[], Any]) -> int:
    monitoring = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    counted = 0

    def count(code: CodeType, offset: int) -> Any:
        nonlocal counted
        if not code.co_filename.startswith(HERE):
            return monitoring.DISABLE
        counted += 1
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
    """As `monitored`, for Python 3.11; of this thread, which is where asyncio runs."""
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

    async def amap_of_generator(many: int) -> None:
        await ask.amap(item for item in range(many))

    async def direct(many: int) -> None:
        for item in range(many):
            await ask(item)

    return {
        "amap": amap,
        "amap of a generator": amap_of_generator,
        "imap": lambda many: _imap(ask, many),
        "gather_bounded": positional,
        "gather_bounded of a generator": lazily,
        "a direct call": direct,
    }


def byte_codes_a_call(way: Callable[[int], Any]) -> float:
    short, long = 400, 1_200
    asyncio.run(way(short))  # what is made once, is
    counts = [byte_codes(lambda many=many: asyncio.run(way(many))) for many in (short, long)]
    return (counts[1] - counts[0]) / (long - short)


@pytest.mark.skipif(PYTHON not in RECORDED, reason="no figure is recorded for this Python")
@pytest.mark.parametrize("name", list(ways()))
def test_a_call_costs_no_more_byte_codes_than_recorded(name: str) -> None:
    recorded = RECORDED[PYTHON][name]
    found = byte_codes_a_call(ways()[name])
    assert found <= recorded * ROOM, f"{name}: {found:.0f} byte codes a call, recorded are {recorded:.0f}"


if __name__ == "__main__":
    print(f'    "{PYTHON}": {{')
    for name, way in ways().items():
        print(f'        "{name}": {byte_codes_a_call(way):.0f},')
    print("    },")
