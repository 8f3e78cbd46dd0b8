"""From a run to its results: all of them in a list, or records handed out one by one."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from fanmap._drive import clock, launch
from fanmap._drive.run import Run
from fanmap._outcome import Outcome
from fanmap._policy.order import NOTHING_YET, Collected
from fanmap._policy.tokens import read_usage
from fanmap._progress import Watcher

_ONLY_VALUES = frozenset({str, int, float, bool, bytes, type(None), list, tuple})  # none of these has a usage


def collect_blocking(run: Run, where: launch.Place, watcher: Watcher | None) -> list[Any]:
    """Run to the end in this thread; the results in input order."""
    launched = launch.blocking(run, where)
    consumer = launched.consumer
    try:
        run.start()
        consumer.advance(None if watcher is None else watcher.looking(run.stats))
        consumer.finish(launched.cancel)
    except BaseException as error:
        try:
            consumer.finish(launched.cancel)
        finally:
            if watcher is not None:
                watcher.cut(run.stats)
            run.ending.remember(error)
        raise
    return _conclude(run, watcher)


async def collect_awaiting(
    run: Run, where: launch.Place, source: AsyncIterable[Any] | None, watcher: Watcher | None
) -> list[Any]:
    """Run to the end in this task; the results in input order."""
    launched = launch.awaiting(run, where, source)
    consumer = launched.consumer
    try:
        run.start()
        await consumer.advance(None if watcher is None else watcher.looking(run.stats))
        await consumer.finish(launched.cancel)
    except BaseException as error:
        try:
            await consumer.finish(launched.cancel)
        finally:
            if watcher is not None:
                watcher.cut(run.stats)
            run.ending.remember(error)
        raise
    return _conclude(run, watcher)


def _conclude(run: Run, watcher: Watcher | None) -> list[Any]:
    if watcher is not None:
        watcher.end(run.stats)
    run.ending.conclude(clock.now())
    order = run.order
    assert isinstance(order, Collected)
    values = order.values
    order.forget()  # a failure among them has a traceback that leads back to the run
    return values


def hand_out_value(run: Run, record: tuple[Any, ...] | None) -> Any:
    """A result as `imap` gives it: the value, or the failure in its turn; NOTHING_YET of no record."""
    if record is None:
        return NOTHING_YET
    index, value, error = record[:3]
    if error is None:
        if type(value) not in _ONLY_VALUES:
            _count_tokens(run, record)
        return value
    if run.ending.keep_failures:
        return error
    try:
        run.ending.blame(index, error)
    finally:
        del error, record


def hand_out_outcome(run: Run, record: tuple[Any, ...] | None) -> Any:
    """A result as `as_completed` gives it; NOTHING_YET of no record."""
    if record is None:
        return NOTHING_YET
    if type(record[1]) not in _ONLY_VALUES:
        _count_tokens(run, record)
    return Outcome(*record)


def _count_tokens(run: Run, record: tuple[Any, ...]) -> None:
    """What a reply says that it took, for the summary; a resumed one took nothing now."""
    if record[3]:
        tokens = read_usage(record[1])
        if tokens is not None:
            run.tokens = (run.tokens or 0.0) + tokens
