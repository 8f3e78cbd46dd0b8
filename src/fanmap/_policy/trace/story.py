"""All that a trace is drawn from, as values: the calls of a run with what each waited for, and its totals.

Indices and numbers only: no input, result, key or text of an exception gets here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fanmap._policy.trace.log import KINDS, Fate, TraceLog
from fanmap._usage import NO_USAGE, Usage


class Span(NamedTuple):
    """One call and the waits before it; seconds since the run began.

    Attributes:
        start: of its first wait, or of the call where it did not wait.
        began, ended: of the call itself.
        item: the index of its item.
        fate: a `Fate`.
        slot, gate, rate, repeat: seconds that it waited for each, before `began`.
    """

    start: float
    began: float
    ended: float
    item: int
    fate: int
    slot: float
    gate: float
    rate: float
    repeat: float


class Refusal(NamedTuple):
    """A server refused to start a call: when, of which item, why, and the seconds that it named (0.0: none)."""

    time: float
    item: int
    kind: str
    wait: float


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run came to, as `Summary` and `RunStats` have it.

    Attributes:
        total: inputs; None: nobody knows.
        over: the run has ended.
        kinds: failures by the name of the exception's type.
        waited: seconds added up, by reason.
        spent: dollars.
    """

    total: int | None
    taken: int
    done: int
    attempts: int
    refused: int
    resumed: int
    over: bool
    kinds: Mapping[str, int] = field(default_factory=dict[str, int])
    waited: Mapping[str, float] = field(default_factory=dict[str, float])
    slowest: Sequence[tuple[int, float]] = ()
    tokens: Usage = NO_USAGE
    spent: float = 0.0

    @property
    def failed(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True, slots=True)
class Story:
    """One run, to be drawn.

    Attributes:
        name: of the function.
        began: seconds since the epoch.
        seconds: that it has lasted.
        spans: by the time at which their calls began.
        ceiling: how many calls might be under way from which time on; the first from 0.0.
        most: calls at once that the run itself was allowed.
        outages: from when to when all waited for one probe.
        recorded: single calls were noted; else `spans` has only what is under way.
        guessed: it was put together from a journal: waits and refusals are not known.
        earlier: calls of that journal which are of runs before.
        begun: it has begun at all.
    """

    name: str
    began: float
    seconds: float
    spans: Sequence[Span]
    refusals: Sequence[Refusal]
    ceiling: Sequence[tuple[float, int]]
    most: int
    outages: Sequence[tuple[float, float]]
    totals: Totals
    recorded: bool = True
    guessed: bool = False
    earlier: int = 0
    begun: bool = True


def untold(name: str) -> Story:
    """Of a run that has not begun."""
    return Story(name, 0.0, 0.0, (), (), [(0.0, 0)], 0, (), Totals(None, 0, 0, 0, 0, 0, over=False), begun=False)


def spans_of(log: TraceLog, began: float, still: Iterable[Span] = (), *, paced: bool = True) -> list[Span]:
    """The calls that a log tells of, and those that have not ended, each with its waits; by the time they began.

    Args:
        log: of the run.
        began: when the run did; what spans count from.
        still: calls that have not ended or not begun, from `began` on already.
        paced: there is a rate; else what looks like a wait for one is a call's turn after the gate, and the gate's.
    """
    waits: dict[tuple[int, float], tuple[float, float, float]] = {}
    for index, start, slot, gate, rate in log.each_wait():
        waits[index, start] = (slot, gate, rate) if paced else (slot, gate + rate, 0.0)
    fates: dict[tuple[int, float], int] = {}
    for index, start, fate in log.each_fate():
        fates.setdefault((index, start), fate)
    told: set[tuple[int, float]] = set()
    spans: list[Span] = []
    nothing = (0.0, 0.0, 0.0)
    for index, start, end in log.each_call():
        key, fate = (index, start), 0
        if fates and key in fates:
            if key in told:
                continue
            told.add(key)
            fate = fates[key]
        slot, gate, rate = waits.get(key, nothing) if waits else nothing
        at = start - began
        spans.append(Span(at - slot - gate - rate, at, end - began, index, fate, slot, gate, rate, 0.0))
    for one in still:
        slot, gate, rate = waits.get((one.item, one.began + began), nothing)
        if one.fate == Fate.UNDER_WAY and slot + gate + rate:
            one = one._replace(start=one.began - slot - gate - rate, slot=slot, gate=gate, rate=rate)
        spans.append(one)
    spans.sort(key=_by_beginning)
    _add_back_offs(spans, log, began)
    return spans


def _by_beginning(span: Span) -> float:
    return span.began


def _add_back_offs(spans: list[Span], log: TraceLog, began: float) -> None:
    """A wait between two calls of an item belongs to the second of them."""
    back_offs: dict[int, list[tuple[float, float, float]]] = {}
    for index, since, gate, until in log.each_back_off():
        back_offs.setdefault(index, []).append((since - began, gate - began, until - began))
    for place, span in enumerate(spans) if back_offs else ():
        waiting = back_offs.get(span.item)
        if not waiting or span.began < waiting[0][0] or (span.fate != Fate.WAITING and span.ended <= waiting[0][0]):
            continue
        since, gate, until = waiting.pop(0)
        asked = max(since, span.start) if span.fate != Fate.WAITING else span.began
        until = min(until, asked)
        at_gate = max(0.0, min(gate, until) - since)
        spans[place] = span._replace(
            start=since, gate=span.gate + at_gate, repeat=max(0.0, until - since - at_gate),
        )  # fmt: skip


def refusals_of(log: TraceLog, began: float) -> list[Refusal]:
    """The refusals of a run, by their time."""
    return sorted(Refusal(time - began, index, KINDS[kind], wait) for index, time, kind, wait in log.each_refusal())


def outages_of(log: TraceLog, began: float, spans: Sequence[Span], end: float) -> list[tuple[float, float]]:
    """From when to when nothing but probes went out: to the first call that began in it and returned."""
    outages: list[tuple[float, float]] = []
    answers = iter(sorted((one.began, one.ended) for one in spans if one.fate == Fate.RETURNED))
    over = -math.inf
    for since, _, outage in sorted(log.each_gate()):
        since -= began
        if outage and since >= over:
            over = next((ended for start, ended in answers if start >= since), end)
            outages.append((since, over))
    return outages


def ceiling_of(changes: Iterable[tuple[float, int, int]], now: int, most: int, began: float) -> list[tuple[float, int]]:
    """How many calls might be under way, from which time on.

    Args:
        changes: time, before and after, in their order; of the Limits, from before the run too.
        now: the ceiling where it stands.
        most: calls at once that the run itself was allowed.
        began: when the run did.
    """
    steps = [(0.0, now)]
    first = True
    for time, before, after in changes:
        if time <= began:
            continue
        if first:
            steps, first = [(0.0, before)], False
        steps.append((time - began, after))
    return [(time, min(most, limit)) for time, limit in steps]
