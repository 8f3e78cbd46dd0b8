"""A task that is cancelled while it blocks in a run: asyncio can only set a mark, and the wait looks for it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from fanmap import Limits, parallel_map, partial_results, to_sync

pytestmark = [pytest.mark.usefixtures("nothing_left"), pytest.mark.filterwarnings("ignore:a blocking run")]


class Stop:
    """Items that cancel a task from where they run, as a signal handler does, and others that wait for the end."""

    def __init__(self):
        self.over = threading.Event()
        self.started = []
        self.handed = None  # what came out one by one: all before item 3 has, before that cancels

    def one_by_one(self, results):
        self.handed = []
        for result in results:
            self.handed.append(result)

    def __call__(self, item):
        self.started.append(item)
        if item == 3:
            while self.handed is not None and len(self.handed) < 3:
                time.sleep(0.001)
            self.task.cancel()
        if item >= 3:
            self.over.wait()
        return item * 10

    async def acall(self, item):
        self.started.append(item)
        if item == 3:
            while self.handed is not None and len(self.handed) < 3:
                await asyncio.sleep(0.001)
            self.task.cancel()
        if item >= 3:
            await asyncio.sleep(1000)
        return item * 10


WAYS = {
    "def.map": lambda stop: parallel_map(stop.__call__, max_concurrency=1).map(range(50)),
    "async.map": lambda stop: parallel_map(stop.acall, max_concurrency=1).map(range(50)),
    "def.imap": lambda stop: stop.one_by_one(parallel_map(stop.__call__, max_concurrency=1).imap(range(50))),
    "async.imap": lambda stop: stop.one_by_one(parallel_map(stop.acall, max_concurrency=1).imap(iter(range(50)))),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_raised_where_it_blocks_with_what_had_finished(way):
    stop = Stop()
    kept = {} if "imap" in way else {0: 0, 1: 10, 2: 20}  # imap had handed them out

    async def main():
        stop.task = asyncio.current_task()
        with pytest.raises(asyncio.CancelledError) as caught:
            WAYS[way](stop)
        stop.over.set()
        assert partial_results(caught.value) == kept
        raise caught.value

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert stop.started == [0, 1, 2, 3]


@pytest.mark.parametrize("way", ["imap", "as_completed"])
@pytest.mark.parametrize("colour", ["def", "async def"])
def test_it_is_raised_in_a_loop_whose_body_is_slower_than_the_calls(colour, way):
    """Every result is there when it is asked for: nothing is ever waited for."""

    async def same(item):
        return item

    ask = parallel_map(same if colour == "async def" else lambda item: item, max_concurrency=2)
    handed = []

    async def main():
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(asyncio.CancelledError) as caught, getattr(ask, way)(range(8)) as results:
            for result in results:
                handed.append(result)
                while results.stats.done < 8:
                    time.sleep(0.001)
                task.cancel()
        assert len(partial_results(caught.value)) == 7
        raise caught.value

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert len(handed) == 1


def test_a_task_that_was_cancelled_before_may_block_in_its_clean_up():
    ask = parallel_map(max_concurrency=2)(lambda item: item)
    seen = []

    async def work():
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append(ask.map(range(20)))
            seen.append(list(ask.imap(range(20))))
            seen.append(ask(7))

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert seen == [list(range(20)), list(range(20)), 7]


def test_another_task_that_is_cancelled_is_none_of_its_business():
    stop = Stop()

    async def main():
        stop.task = other = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(0)
        stop.over.set()
        assert parallel_map(stop.__call__, max_concurrency=1).map(range(8)) == [item * 10 for item in range(8)]
        with pytest.raises(asyncio.CancelledError):
            await other

    asyncio.run(main())


def test_it_leaves_a_call_that_waits_for_a_slot():
    account, entered = Limits(1), threading.Event()
    over = threading.Event()

    def hold():
        with account:
            entered.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()

    async def main(block):
        task = asyncio.current_task()
        canceller = threading.Thread(target=cancel, args=(task,))
        canceller.start()
        try:
            with pytest.raises(asyncio.CancelledError):
                block()
        finally:
            canceller.join()

    def cancel(task):
        while not account.stats.waiting:
            threading.Event().wait(0.001)
        task.cancel()

    def enter():
        with account:
            raise AssertionError("it was let in")

    ask = parallel_map(limits=account)(lambda: None)
    for block in (ask, enter):
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main(block))
        assert account.stats.waiting == 0
    over.set()
    holder.join()


def test_it_ends_a_call_over_the_bridge_and_its_clean_up_runs():
    cleaned = []

    async def main():
        task = asyncio.current_task()

        async def forever():
            task.cancel()
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0.001)
                cleaned.append(True)

        with pytest.raises(asyncio.CancelledError):
            to_sync(forever)()
        assert cleaned == [True]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
