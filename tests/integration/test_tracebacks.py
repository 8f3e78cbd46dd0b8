"""What a traceback shows between the caller's line and the one that failed: one frame of fanmap's, and that folded."""

from __future__ import annotations

import asyncio
import functools
import traceback
from pathlib import Path

import pytest
import trio
from aiolimiter import AsyncLimiter

import fanmap
from fanmap import DeadlineExceeded, Limits, Retry, gather_bounded, parallel_map, to_async, to_sync

pytestmark = pytest.mark.usefixtures("nothing_left")
OURS = str(Path(fanmap.__file__).parent)


def fail(x):
    raise ValueError("no")


async def afail(x):
    await asyncio.sleep(0)
    raise ValueError("no")


async def fail_on_trio(x):
    await trio.sleep(0)
    raise ValueError("no")


def fail_below(x):
    return parallel_map(fail).map([x])


def broken():
    yield 1
    raise ValueError("no")


async def listed(results):
    return [result async for result in results]


async def listed_on_trio(results):
    async with results:
        return await listed(results)


ask, aask, task = parallel_map(fail), parallel_map(afail), parallel_map(fail_on_trio)

CASES = {
    "map": lambda tmp: ask.map([1]),
    "map of tuples": lambda tmp: ask.map([(1,)], unpack=True),
    "map of an async def": lambda tmp: aask.map([1]),
    "map with a timeout": lambda tmp: ask.with_options(timeout=9).map([1]),
    "map with repeats": lambda tmp: ask.with_options(retry=Retry(2, on=ValueError, wait=0)).map([1]),
    "map with a journal": lambda tmp: ask.map([1], resume=tmp / "journal"),
    "map of an input that breaks": lambda tmp: parallel_map(abs).map(broken()),
    "imap": lambda tmp: list(ask.imap([1])),
    "imap of an async def": lambda tmp: list(aask.imap([1])),
    "imap, awaited": lambda tmp: asyncio.run(listed(aask.imap([1]))),
    "imap on trio": lambda tmp: trio.run(listed_on_trio, task.imap([1])),
    "an outcome": lambda tmp: next(ask.as_completed([1])).result(),
    "an outcome of a call with a timeout": lambda tmp: next(ask.with_options(timeout=9).as_completed([1])).result(),
    "amap": lambda tmp: asyncio.run(aask.amap([1])),
    "amap of a def": lambda tmp: asyncio.run(ask.amap([1])),
    "amap with a timeout": lambda tmp: asyncio.run(aask.with_options(timeout=9).amap([1])),
    "amap on trio": lambda tmp: trio.run(task.amap, [1]),
    "amap on trio with a timeout": lambda tmp: trio.run(task.with_options(timeout=9).amap, [1]),
    "gather_bounded": lambda tmp: asyncio.run(gather_bounded(afail(1))),
    "gather_bounded of functions": lambda tmp: asyncio.run(gather_bounded(functools.partial(afail, 1))),
    "a direct call": lambda tmp: ask(1),
    "a direct call with a timeout": lambda tmp: ask.with_options(timeout=9)(1),
    "an awaited call": lambda tmp: asyncio.run(aask(1)),
    "a call on trio": lambda tmp: trio.run(task, 1),
    "to_sync": lambda tmp: to_sync(afail)(1),
    "to_async": lambda tmp: asyncio.run(to_async(fail)(1)),
    "to_async on trio": lambda tmp: trio.run(to_async(fail), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_one_frame_of_ours_stands_above_the_failing_line_and_is_folded(case, tmp_path):
    with pytest.raises(ValueError, match="no") as raised:
        CASES[case](tmp_path)
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert frames[-1].line == 'raise ValueError("no")'
    assert sum(frame.filename.startswith(OURS) for frame in frames) == 1
    shown = raised.traceback.filter(raised)  # as pytest shows it
    assert [entry for entry in shown if str(entry.path).startswith(OURS)] == []


def test_of_nested_runs_each_has_its_own_frame():
    with pytest.raises(ValueError, match="no") as raised:
        parallel_map(fail_below).map([1])
    frames = [
        "ours" if frame.filename.startswith(OURS) else frame.name
        for frame in traceback.extract_tb(raised.value.__traceback__)
    ]
    assert frames[1:] == ["ours", "fail_below", "ours", "fail"]


def test_ipython_folds_it():
    ultratb = pytest.importorskip("IPython.core.ultratb")
    with pytest.raises(ValueError, match="no") as raised:
        ask.map([1])
    shown = ultratb.VerboseTB(theme_name="nocolor").text(raised.type, raised.value, raised.tb)
    assert "[... skipping hidden 1 frame]" in shown
    assert "_public.py" not in shown


def test_our_own_words_come_from_the_callers_line():
    async def wait(x):
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded) as raised:
        parallel_map(wait).map([1], deadline=0.01)
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert sum(frame.filename.startswith(OURS) for frame in frames) == 1


def lacking(prompt, model):
    return prompt


async def alacking(prompt, model):
    return prompt


async def ayielding(prompt, model):
    yield prompt


def yielding(prompt, model):
    yield prompt


def streamed(function):
    return parallel_map(function).stream([1])


async def astreamed(function):
    return [chunk async for _, chunk in parallel_map(function).stream([1])]


LACKING = {  # every place that calls a user's function
    "with a timeout": lambda: parallel_map(timeout=9)(lacking).map([1]),
    "awaited": lambda: asyncio.run(parallel_map(alacking).amap([1])),
    "awaited with a timeout": lambda: asyncio.run(parallel_map(timeout=9)(alacking).amap([1])),
    "on the background loop": lambda: parallel_map(alacking).map([1]),
    "on trio": lambda: trio.run(parallel_map(alacking).amap, [1]),
    "on trio with a timeout": lambda: trio.run(parallel_map(timeout=9)(alacking).amap, [1]),
    "awaited directly": lambda: asyncio.run(parallel_map(alacking)(1)),
    "with a bounded line": lambda: parallel_map(limits=Limits(2, max_waiting=2))(lacking).map([1]),
    "awaited with a bounded line": lambda: asyncio.run(
        parallel_map(limits=Limits(2, max_waiting=2))(alacking).amap([1])
    ),
    "under an AsyncLimiter": lambda: asyncio.run(parallel_map(rate=AsyncLimiter(9))(alacking).amap([1])),
    "unpacked": lambda: parallel_map(lacking).map([(1,)], unpack=True),
    "to_sync": lambda: to_sync(alacking)(1),
    "to_async": lambda: asyncio.run(to_async(lacking)(1)),
    "gather_bounded": lambda: asyncio.run(gather_bounded(alacking)),
    "gather_bounded with repeats": lambda: asyncio.run(gather_bounded(alacking, retry=Retry())),
    "a stream": lambda: list(streamed(lacking)),
    "a generator's stream": lambda: list(streamed(yielding)),
    "a stream, awaited": lambda: asyncio.run(astreamed(alacking)),
    "an async generator's stream": lambda: list(streamed(ayielding)),
    "an async generator's stream, awaited": lambda: asyncio.run(astreamed(ayielding)),
    "an async generator": lambda: asyncio.run(parallel_map(ayielding).amap([1])),
    "a generator, directly": lambda: next(parallel_map(yielding)(1)),
    "an async generator, directly": lambda: asyncio.run(anext(parallel_map(ayielding)(1))),
}
WRONG = {
    "an input that is one string": lambda: ask.map("text"),
    "a setting": lambda: ask.map([1], deadline="soon"),
    "a setting of the decorator": lambda: parallel_map(rpm=-1),
    "a keyword": lambda: ask.map([1], workers=3),
    "a rate": lambda: parallel_map(rate="10/s"),
    "a retry": lambda: Retry(on=[429]),
    "an argument of partial": lambda: ask.partial(model=1),
    "an awaitable": lambda: asyncio.run(gather_bounded(5)),
    "a function that lacks an argument": lambda: parallel_map(lacking).map([1]),
    "an async one": lambda: asyncio.run(parallel_map(to_async(lacking)).amap([1])),
    "a direct call that lacks an argument": lambda: parallel_map(lacking)(1),
}
WRONG |= {f"lacks an argument, {way}": call for way, call in LACKING.items()}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_caller_did_wrong_is_said_at_the_callers_line(case):
    with pytest.raises((TypeError, ValueError)) as raised:
        WRONG[case]()
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert sum(frame.filename.startswith(OURS) for frame in frames) <= 2


def test_a_fault_of_ours_keeps_its_frames(monkeypatch):
    """Whoever has to mend it wants to see where it is."""
    from fanmap import _ways

    monkeypatch.setattr(_ways, "length_of", None)
    with pytest.raises(TypeError, match="not callable") as raised:
        ask.map([1])
    assert [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)][-2:] == ["calling", "map"]


def test_an_exception_that_will_not_be_looked_at_loses_our_frames_too():
    class Stubborn(Exception):
        @property
        def __traceback__(self):
            raise AssertionError("nobody looks at it")

        def with_traceback(self, tb):
            raise AssertionError("nobody changes it")

    @parallel_map
    def objects(x):
        raise Stubborn

    for call in (lambda: objects(1), lambda: asyncio.run(gather_bounded(objects.amap([1])))):
        try:
            call()
        except Stubborn as error:
            told = BaseException.__traceback__.__get__(error)
            assert sum(frame.filename.startswith(OURS) for frame in traceback.extract_tb(told)) <= 2
        else:
            raise AssertionError


def test_no_reference_cycle_is_left(cycles):
    async def body():
        for call in (lambda: ask.map([1]), lambda: ask(1), lambda: to_sync(afail)(1)):
            try:
                call()
            except ValueError:
                pass

    assert asyncio.run(cycles(body)) == []
