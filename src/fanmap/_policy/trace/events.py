"""A run as trace events, the JSON format that Perfetto and Chrome's own viewer open.

Calls are complete events with their lane as thread, waits the same in a process of their own, refusals instants,
and calls under way, ceiling and waiting are counters. Timestamps are microseconds since the run began. Lanes count
from 1: to Perfetto thread 0 is the idle thread of every process, and it drops what overlaps there.

Source: "Trace Event Format", the Chromium project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from fanmap._policy.trace.causes import Moments
from fanmap._policy.trace.lanes import lanes
from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.sentence import sentence
from fanmap._policy.trace.story import Story

_CALLS, _WAITS = 1, 2  # processes
_MOST_STEPS: Final = 20_000  # of the counters; beyond, the last one of each stretch of equal length is kept
_FATES: Final = {fate.value: fate.name.lower() for fate in Fate}


def trace_json(story: Story) -> str:
    """The whole file."""
    moments = Moments(story)
    others = {
        "function": story.name,
        "began": round(story.began, 3) if story.begun else None,
        "seconds": round(story.seconds, 6),
        "sentence": sentence(story, moments.seconds),
        "held up": {cause: round(seconds, 6) for cause, seconds in moments.seconds.items()},
    }
    head = json.dumps({"displayTimeUnit": "ms", "otherData": others}, ensure_ascii=True)
    return f'{head[:-1]},"traceEvents":[\n' + ",\n".join(trace_events(story, moments)) + "\n]}\n"


def trace_events(story: Story, moments: Moments) -> Iterator[str]:
    """The events, one by one, each as JSON; put together here, which takes a fifth of the time that `json` does."""
    yield _named("process_name", _CALLS, 0, f"{story.name}: calls")
    yield _named("process_name", _WAITS, 0, f"{story.name}: waiting")
    made = [one for one in story.spans if one.fate != Fate.WAITING]
    places = lanes((one.began, one.ended) for one in made)
    yield from _lane_names(_CALLS, places)
    for one, lane in zip(made, places, strict=True):
        start = _us(one.began)
        yield (
            f'{{"ph":"X","cat":"call","name":"item {one.item}","pid":{_CALLS},"tid":{lane + 1},'
            f'"ts":{start},"dur":{_us(one.ended) - start},'
            f'"args":{{"index":{one.item},"ended":"{_FATES[one.fate]}"}}}}'
        )
    yield from _waits(story)
    for refusal in story.refusals:
        yield (
            f'{{"ph":"i","s":"p","cat":"refusal","name":"{refusal.kind}","pid":{_CALLS},"tid":1,'
            f'"ts":{_us(refusal.time)},"args":{{"index":{refusal.item},"wait":{refusal.wait!r}}}}}'
        )
    for time, under_way, waiting, ceiling in _thinned(moments.steps):
        for name, value in (("calls under way", under_way), ("waiting", waiting), ("ceiling", ceiling)):
            yield f'{{"ph":"C","name":"{name}","pid":{_CALLS},"ts":{_us(time)},"args":{{"calls":{value}}}}}'


def _waits(story: Story) -> Iterator[str]:
    found: list[tuple[int, int, str, int]] = []
    for one in story.spans:
        at = one.start
        reasons = (("back-off", one.repeat), ("slot", one.slot), ("gate", one.gate), ("rate", one.rate))
        for reason, seconds in reasons:
            if seconds > 0:
                found.append((_us(at), _us(at + seconds), reason, one.item))
                at += seconds
    found.sort()
    places = lanes(one[:2] for one in found)
    yield from _lane_names(_WAITS, places)
    for (start, end, reason, index), lane in zip(found, places, strict=True):
        yield (
            f'{{"ph":"X","cat":"wait","name":"{reason}","pid":{_WAITS},"tid":{lane + 1},'
            f'"ts":{start},"dur":{end - start},"args":{{"index":{index}}}}}'
        )


def _thinned(steps: list[tuple[float, int, int, int]]) -> list[tuple[float, int, int, int]]:
    if len(steps) <= _MOST_STEPS:
        return steps
    width = (steps[-1][0] or 1.0) / _MOST_STEPS
    return list({int(step[0] / width): step for step in steps}.values())


def _lane_names(process: int, places: Sequence[int]) -> Iterator[str]:
    for lane in range(1, max(places, default=-1) + 2):
        yield _named("thread_name", process, lane, f"lane {lane}")


def _named(what: str, pid: int, tid: int, name: str) -> str:
    return f'{{"ph":"M","name":"{what}","pid":{pid},"tid":{tid},"args":{{"name":{json.dumps(name)}}}}}'


def _us(seconds: float) -> int:
    return max(0, round(seconds * 1e6))
