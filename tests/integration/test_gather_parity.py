"""What `asyncio.gather`'s own documentation promises holds for `gather_bounded`, but for what its docs list.

Each test runs the same lines with both, so that a promise we misread fails for gather itself.
"""

from __future__ import annotations

import asyncio

import pytest

from fanmap import gather_bounded

pytestmark = pytest.mark.usefixtures("nothing_left")  # what waits for an hour hangs, and that is a failure


async def bounded(*aws, **options):
    return await gather_bounded(*aws, max_concurrency=2, **options)


async def gathered(*aws, **options):
    return await asyncio.gather(*aws, **options)


both = pytest.mark.parametrize("gather", [gathered, bounded], ids=["asyncio.gather", "gather_bounded"])


async def later(value, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


class Broke(Exception):
    pass


async def broken(turns=1):
    await later(None, turns)
    raise Broke


@both
def test_no_awaitables_give_an_empty_list(gather):
    assert asyncio.run(gather()) == []


@both
def test_the_order_of_result_values_corresponds_to_the_order_of_awaitables(gather):
    assert asyncio.run(gather(later("a", 9), later("b", 1), later("c", 5), later("d", 0))) == ["a", "b", "c", "d"]


@both
def test_coroutines_futures_and_tasks_are_taken(gather):
    async def main():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "future")
        return await gather(later("coroutine"), future, asyncio.create_task(later("task")))

    assert asyncio.run(main()) == ["coroutine", "future", "task"]


@both
def test_a_duplicate_is_awaited_once_and_gives_its_result_twice(gather):
    calls = []

    async def count():
        calls.append(1)
        return len(calls)

    async def main():
        coroutine, task = count(), asyncio.create_task(later("t"))
        return await gather(coroutine, task, coroutine, task)

    assert asyncio.run(main()) == [1, "t", 1, "t"]
    assert len(calls) == 1


@both
def test_the_first_raised_exception_is_immediately_propagated(gather):
    async def main():
        task = asyncio.create_task(asyncio.sleep(3600))
        with pytest.raises(Broke):
            await gather(task, broken())
        task.cancel()

    asyncio.run(main())


@both
def test_with_return_exceptions_exceptions_are_treated_as_results(gather):
    results = asyncio.run(gather(later(1), broken(), later(3), return_exceptions=True))
    assert [results[0], type(results[1]), results[2]] == [1, Broke, 3]


@both
@pytest.mark.parametrize("return_exceptions", [False, True])
def test_if_it_is_cancelled_all_submitted_awaitables_are_cancelled(gather, return_exceptions):
    ended = []

    async def child(name):
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)  # its own clean-up runs to its end
            ended.append(name)

    async def main():
        tasks = [asyncio.create_task(child(name)) for name in "ab"]
        whole = asyncio.create_task(gather(*tasks, return_exceptions=return_exceptions))
        await later(None, 3)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole
        await later(None, 3)
        assert whole.cancelled()
        assert all(task.cancelled() for task in tasks)

    asyncio.run(main())
    assert sorted(ended) == ["a", "b"]


@both
def test_a_cancelled_child_is_treated_as_if_it_raised_cancelled_error(gather):
    async def main():
        child = asyncio.create_task(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(child.cancel)
        whole = asyncio.create_task(gather(child, later("x", 9)))
        with pytest.raises(asyncio.CancelledError):
            await whole
        return "this task was not cancelled"

    assert asyncio.run(main()) == "this task was not cancelled"


@both
def test_a_cancelled_child_is_a_result_with_return_exceptions_and_the_others_are_kept(gather):
    async def main():
        child = asyncio.create_task(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(child.cancel)
        return await gather(later(1), child, later(3, 5), return_exceptions=True)

    results = asyncio.run(main())
    assert [results[0], type(results[1]), results[2]] == [1, asyncio.CancelledError, 3]


@both
def test_a_future_that_was_done_before_gives_its_result(gather):
    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result(7)
        return await gather(future, later(8))

    assert asyncio.run(main()) == [7, 8]


async def cleaning_up():
    try:
        await asyncio.sleep(3600)
    finally:
        await later(None, 3)


def test_differs_siblings_are_cancelled_and_waited_for_when_one_fails_also_those_never_started():
    async def main():
        tasks = [asyncio.create_task(cleaning_up()) for _ in range(5)]
        with pytest.raises(Broke):
            await bounded(broken(3), *tasks, later("never awaited"))
        assert all(task.cancelled() for task in tasks)

    asyncio.run(main())


def test_differs_a_cancellation_waits_for_all_that_was_submitted():
    async def main():
        tasks = [asyncio.create_task(cleaning_up()) for _ in range(5)]
        whole = asyncio.create_task(bounded(*tasks))
        await later(None, 3)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole
        assert all(task.cancelled() for task in tasks)

    asyncio.run(main())


def test_differs_nothing_starts_before_it_is_awaited():
    started = []

    async def note():
        started.append(1)

    async def main():
        whole = gather_bounded(note())
        await later(None, 5)
        assert not started
        await whole

    asyncio.run(main())
    assert started == [1]


def test_differs_no_more_than_the_bound_are_under_way():
    under_way, most = [0], [0]

    async def one():
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        await later(None, 3)
        under_way[0] -= 1

    async def main():
        await gather_bounded(*[one() for _ in range(50)], max_concurrency=7)

    asyncio.run(main())
    assert most == [7]
