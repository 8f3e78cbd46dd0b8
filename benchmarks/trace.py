"""What `trace=` costs: to note a call while the run goes, and to draw 100,000 calls when it is over.

    python -m benchmarks.trace [--calls 100000]

Noting is timed alone, in nanoseconds of CPU, the best of many rounds: what a traced run adds to `complete` (every call)
and to `_count_wait` (a call that waited). `python -m benchmarks.instructions amap "amap, trace="` counts the same from
outside, in instructions of whole runs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fanmap._drive.limits.tally import Tally
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.worker import Worker
from fanmap._drive.tracing import TracedRun, TracedWorker
from fanmap._policy.trace.events import trace_json
from fanmap._policy.trace.log import Fate, TraceLog
from fanmap._policy.trace.story import Span, Story, Totals, spans_of
from fanmap._trace.page import page

_ROUNDS, _TIMES = 30, 50_000


def _nothing(self: Any, worker: Any, record: Any, *, stop: bool = False) -> None:
    """Stands for the engine."""


def best(call: Callable[[], object]) -> float:
    """Nanoseconds."""
    found = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_TIMES):
            call()
        found.append((time.process_time() - began) / _TIMES)
    return min(found) * 1e9


def of_a_call(log: TraceLog) -> float:
    """What noting adds to a call that returned."""
    run = TracedRun.__new__(TracedRun)
    run.log, run._note_call = log, log.calls.extend
    record = (1_234_567, "answer", None, 1, 10.0, 11.0, 12.0)
    whole, Run.complete = Run.complete, _nothing  # type: ignore[method-assign, assignment]
    try:
        without = best(lambda: Run.complete(run, None, record, stop=False))  # type: ignore[arg-type]
        return best(lambda: TracedRun.complete(run, None, record, stop=False)) - without
    finally:
        Run.complete = whole  # type: ignore[method-assign]


def of_a_wait(log: TraceLog) -> float:
    """What noting adds to a call that waited."""
    worker: Any = TracedWorker.__new__(TracedWorker)
    worker.run = SimpleNamespace(note_wait=log.waits.extend)
    worker.plan = SimpleNamespace(budget=SimpleNamespace(admission=SimpleNamespace(opens_at=lambda: 0.0)))
    worker.index, worker._asked = 1_234_567, 10.0
    permit: Any = SimpleNamespace(slotted=11.0)
    tally = Tally()
    without = best(lambda: Worker._count_wait(worker, tally, permit, 12.0))
    return best(lambda: TracedWorker._count_wait(worker, tally, permit, 12.0)) - without


def log_of(calls: int) -> TraceLog:
    """A run of so many calls, each of which waited for a slot and a rate; 64 at once."""
    rng, log, free = random.Random(1), TraceLog(), [0.0] * 64
    for index in range(calls):
        lane = index % 64
        waited = rng.random()
        began = free[lane] + waited
        free[lane] = ended = began + rng.uniform(0.3, 0.8)
        log.waited(index, began, waited / 3, 0.0, waited / 1.5)
        log.ended(index, began, ended, Fate.RETURNED)
    log._fates.clear()
    return log


def drawn(log: TraceLog, calls: int, form: Callable[[Story], str]) -> tuple[float, float]:
    """Seconds of CPU, megabytes."""
    began = time.process_time()
    spans: list[Span] = spans_of(log, 0.0)
    end = max(span.ended for span in spans)
    totals = Totals(calls, calls, calls, calls, 0, 0, over=True)
    text = form(Story("ask", 0.0, end, spans, (), [(0.0, 64)], 64, (), totals))
    return time.process_time() - began, len(text.encode()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    calls = parser.parse_args().calls
    once, waited = TraceLog(), TraceLog()
    print(f"Python {sys.version.split()[0]}")
    print(f"to note a call            {of_a_call(once):8.0f} ns   {len(once.calls) / _ROUNDS / _TIMES:4.0f} bytes")
    print(f"to note what it waited for{of_a_wait(waited):8.0f} ns   {len(waited.waits) / _ROUNDS / _TIMES:4.0f} bytes")
    log = log_of(calls)
    for name, form in (("page", page), ("trace events", trace_json)):
        seconds, size = drawn(log, calls, form)
        print(f"{name + f' of {calls:,} calls':26}{seconds:8.2f} s    {size:4.1f} MB")


if __name__ == "__main__":
    main()
