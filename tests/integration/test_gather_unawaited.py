"""However `gather_bounded` refuses what it was given, no coroutine of it is left un-awaited."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import warnings
from collections import deque

import pytest

from fanmap import Limits, Retry, gather_bounded

WRONG = [
    {"max_concurrency": 0},
    {"max_concurrency": "many"},
    {"max_concurrency": True},
    {"rpm": -1},
    {"tpm": float("nan")},
    {"rate": 5},
    {"rate": "ten"},
    {"timeout": 0},
    {"retry": 3},
    {"retry": Retry()},
    {"limits": 5},
    {"limits": Limits(), "rpm": 5},
    {"progress": 3},
]


async def one():
    return 1


HELD = {
    "spread": lambda: [one(), one()],
    "a list": lambda: [[one(), one()]],
    "a tuple": lambda: [(one(), one())],
    "a set": lambda: [{one(), one()}],
    "a deque": lambda: [deque([one(), one()])],
    "values": lambda: [{1: one(), 2: one()}.values()],
    "a generator": lambda: [(one() for _ in range(2))],
    "functions": lambda: [one, one],
}


@pytest.mark.parametrize("how", HELD)
def test_a_wrong_setting_leaves_no_coroutine_unawaited(how):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for options in WRONG:
            wrong_retry = isinstance(options.get("retry"), Retry)
            if wrong_retry and how == "functions":
                continue  # they can be repeated
            with pytest.raises(TypeError if wrong_retry else (TypeError, ValueError)):
                asyncio.run(gather_bounded(*HELD[how](), **options))
            assert caught == [], options
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_what_is_there_already_has_its_results_in_its_own_order(held):
    assert asyncio.run(gather_bounded(*held())) == [1, 1]


def test_a_failure_among_a_set_leaves_none_unawaited():
    async def fail():
        raise ValueError("no")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="no"):
            asyncio.run(gather_bounded({fail() for _ in range(20)}, max_concurrency=2))
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_a_tuple_among_entries_that_are_read_lazily_leaves_none_unawaited():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(TypeError, match="got a tuple"):
            asyncio.run(gather_bounded(zip([one()], [one()], strict=True)))
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_the_task_that_awaits_it_cannot_be_among_what_it_awaits():
    async def main():
        other = asyncio.create_task(asyncio.sleep(3600))
        with pytest.raises(RuntimeError, match="leave out asyncio.current_task()"):
            await gather_bounded(one(), *asyncio.all_tasks())
        assert other.cancelled()
        assert not asyncio.current_task().cancelling()
        return await gather_bounded(one())

    assert asyncio.run(main()) == [1]


async def cancelled_at_once():
    task = asyncio.ensure_future(gather_bounded(one(), one()))
    task.cancel()
    await asyncio.wait([task])


async def out_of_time():
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gather_bounded([one(), one()]), 0)


async def with_a_failed_sibling():
    async def fail():
        raise ValueError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(0)
            group.create_task(gather_bounded((one(), one())))


@pytest.mark.parametrize("how", [cancelled_at_once, out_of_time, with_a_failed_sibling])
def test_a_call_that_is_cancelled_before_its_first_step_leaves_no_coroutine_unawaited(how):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(how())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_it_is_a_coroutine_function():
    module = inspect if sys.version_info >= (3, 12) else asyncio
    assert module.iscoroutinefunction(gather_bounded)
