"""From a run to its results: all of them in a list, or records handed out one by one."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from fanmap._drive import clock
from fanmap._drive.drivers import portal
from fanmap._drive.drivers.loops import me
from fanmap._drive.runs import launch
from fanmap._drive.runs.run import Run
from fanmap._outcome import Outcome
from fanmap._policy.runs.in_list import InList
from fanmap._policy.runs.results import NOTHING_YET
from fanmap._policy.tokens.tokens import read_result
from fanmap._progress import Watcher

_ONLY_VALUES = frozenset(map(id, (str, int, float, bool, bytes, type(None), list, tuple)))  # none has a usage


def collect_blocking(run: Run, where: launch.Place, watcher: Watcher | None) -> list[Any]:
    """Run to the end in this thread; the results in input order."""
    if not portal.is_here():
        return _collect(run, where, watcher)
    end = portal.block()
    try:
        return _collect(run, where, watcher)
    finally:
        end()


def _collect(run: Run, where: launch.Place, watcher: Watcher | None) -> list[Any]:
    launched = launch.blocking(run, where)
    reader = launched.reader
    try:
        run.start()
        reader.advance(None if watcher is None else watcher.looking(run.stats))
        reader.finish(launched.cancel)
    except BaseException as error:
        try:
            reader.finish(launched.cancel)
        finally:
            run.ending.attach_partial_results(error)
            if watcher is not None:
                watcher.end(run.stats)
        raise
    return _conclude(run, watcher)


async def collect_awaiting(
    run: Run, where: launch.Place, source: AsyncIterable[Any] | None, watcher: Watcher | None
) -> list[Any]:
    """Run to the end in this task; the results in input order."""
    launched = launch.awaiting(run, where, source)
    reader = launched.reader
    try:
        run.start()
        await reader.advance(None if watcher is None else watcher.looking(run.stats))
        await reader.finish(launched.cancel)
    except GeneratorExit as error:  # the coroutine is closed, perhaps after its loop: it must not await
        launched.abandon()
        run.ending.attach_partial_results(error)
        raise
    except BaseException as error:
        try:
            await reader.finish(launched.cancel)
        finally:
            run.ending.attach_partial_results(error)
            if watcher is not None:
                watcher.end(run.stats)
        raise
    return _conclude(run, watcher)


def _conclude(run: Run, watcher: Watcher | None) -> list[Any]:
    results = run.results
    assert isinstance(results, InList)
    try:
        if watcher is not None:
            watcher.end(run.stats)
        run.ending.finalize(clock.now())
        values = results.values
        for index in results.failures():
            run.ending.hand_out(index, values[index])
    except BaseException as error:  # Ctrl-C in the last look: everything is paid for by now
        run.ending.attach_partial_results(error)
        raise
    results.clear()  # a failure among them has a traceback that leads back to the run
    return values


def hand_out_value(run: Run, record: tuple[Any, ...] | None) -> Any:
    """A result as `imap` gives it: the value, or the failure in its turn; NOTHING_YET of no record."""
    if record is None:
        return NOTHING_YET
    index, value, error = record[:3]
    if error is None:
        if id(type(value)) not in _ONLY_VALUES:  # pyright: ignore[reportUnknownArgumentType]
            _count_tokens(run, record)
        return value
    if run.ending.keep_failures:
        return run.ending.hand_out(index, error)
    try:
        run.ending.raise_item_error(index, error)
    finally:
        del error, record


def hand_out_outcome(run: Run, record: tuple[Any, ...] | None) -> Any:
    """A result as `as_completed` gives it; NOTHING_YET of no record."""
    if record is None:
        return NOTHING_YET
    if record[2] is not None:
        run.ending.hand_out(record[0], record[2])
    elif id(type(record[1])) not in _ONLY_VALUES:  # pyright: ignore[reportUnknownArgumentType]
        _count_tokens(run, record)
    return Outcome(*record)


def hand_out_chunk(run: Run, record: tuple[Any, ...] | None) -> Any:
    """A chunk as `stream` gives it, with its item's index; a failure in its turn; NOTHING_YET of no record."""
    if record is None:
        return NOTHING_YET
    index, chunk, error, taken = record[:4]
    if error is None:
        run.taken_by(me())
        taken()
        return index, chunk
    if run.ending.keep_failures:
        return index, run.ending.hand_out(index, error)
    try:
        run.ending.raise_item_error(index, error)
    finally:
        del error, record


def _count_tokens(run: Run, record: tuple[Any, ...]) -> None:
    """What a reply says that it took, for the summary; a resumed one took nothing now."""
    if record[3]:
        taken = read_result(record[1])
        if taken is not None:
            run.tokens += taken.usage
