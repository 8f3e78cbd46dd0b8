"""An asyncio loop that is forgotten with calls under way: the collector takes it, and its slots come back."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from fanmap import BridgeError, Limits, parallel_map


# What the interpreter says of a loop that nobody has closed is not tested here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("settings", [{}, {"tpm": "auto"}])  # with "auto", calls in line can be guessed anew
def test_a_forgotten_loop_is_collected_with_a_run_under_way_and_others_in_line(settings):
    limits = Limits(2, **settings)
    at_once = 2 - len(settings)  # until the server has told, one
    began = []

    @parallel_map(limits=limits)
    async def ask(number):
        began.append(number)
        await asyncio.sleep(3600)

    @parallel_map(limits=limits)
    def quick(number):
        return number

    together = threading.Barrier(at_once)

    @parallel_map(limits=limits)
    def both(number):
        together.wait(300)
        return number

    def forget():
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # its tasks are destroyed while they are pending
        kept = []

        async def job():
            await ask.amap(range(10))

        async def main():
            kept.append(loop.create_task(job()))
            kept.append(loop.create_task(ask(10)))  # in line
            while len(began) < at_once or not limits.stats.waiting:
                await asyncio.sleep(0)

        loop.run_until_complete(main())
        # What the interpreter says of a loop that was not closed is not what is tested here.
        loop._selector.close()
        loop._ssock.close()
        loop._csock.close()
        loop.__class__ = _Forgotten
        return weakref.ref(loop)

    loop = forget()
    gc.collect()
    assert loop() is None
    assert quick.map(range(4)) == [0, 1, 2, 3]
    # The collector may end its calls in an order in which a slot stays: whoever needs it has it within two seconds.
    assert both.map(range(2)) == [0, 1]


def test_slots_of_a_lost_loop_come_back_though_the_one_that_looked_for_them_has_left():
    limits = Limits(1)

    @parallel_map(limits=limits)
    async def ask(seconds):
        await asyncio.sleep(seconds)
        return seconds

    lost = asyncio.new_event_loop()
    lost.set_exception_handler(lambda *_: None)
    task = lost.create_task(ask(3600))
    lost.run_until_complete(asyncio.sleep(0))

    async def main():
        first, second = asyncio.create_task(ask(0)), asyncio.create_task(ask(0))
        while limits.stats.waiting < 2:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        lost.close()
        return await asyncio.wait_for(second, 120)

    assert asyncio.run(main()) == 0
    assert limits.stats.in_flight == 0
    task._log_destroy_pending = False


async def _iterate(ask):
    async for _ in ask.imap(range(5)):
        pass


async def _iterate_in_a_block(ask):
    async with ask.imap(range(5)) as results:
        async for _ in results:
            pass


@pytest.mark.parametrize("way", [lambda ask: ask.amap(range(5)), _iterate, _iterate_in_a_block])
@pytest.mark.parametrize("where", ["in its loop", "after its loop"])
def test_a_coroutine_that_is_closed_awaits_nothing(way, where):
    """Else Python says of it that it has ignored GeneratorExit, or that no loop runs."""
    limits = Limits(2)

    @parallel_map(limits=limits)
    async def ask(number):
        await asyncio.sleep(3600)

    @parallel_map(limits=limits)
    async def quick(number):
        return number

    async def begun(coroutine):
        coroutine.send(None)
        while limits.stats.in_flight < 2:
            await asyncio.sleep(0)
        if where == "in its loop":
            coroutine.close()

    async def job():
        await way(ask)

    coroutine = job()
    asyncio.run(begun(coroutine))
    coroutine.close()
    assert asyncio.run(quick.amap(range(3))) == [0, 1, 2]
    assert limits.stats.in_flight == 0


class _Forgotten(asyncio.SelectorEventLoop):
    def __del__(self):
        pass


def test_a_task_that_nobody_keeps_is_kept_while_it_waits_for_a_slot():
    limits = Limits(1)
    ended = []

    async def main():
        free = asyncio.Event()

        @parallel_map(limits=limits)
        async def ask(number):
            await free.wait()
            ended.append(number)

        first = asyncio.create_task(ask(0))
        await asyncio.sleep(0)
        asyncio.get_running_loop().create_task(ask(1))
        while not limits.stats.waiting:
            await asyncio.sleep(0)
        gc.collect()
        free.set()
        await first
        while len(ended) < 2:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 60))
    assert ended == [0, 1]


def two_under_one_limits():
    """An `async def` of whose calls only the first ends, and a `def`, on two slots."""
    limits = Limits(2)

    @parallel_map(limits=limits)
    async def ask(number):
        if number:
            await asyncio.sleep(3600)
        return number

    @parallel_map(limits=limits)
    def quick(number):
        return number

    return limits, ask, quick


@pytest.mark.parametrize("way", ["amap", "imap"])
def test_threads_call_nothing_more_for_a_run_whose_loop_was_closed(way):
    """Nobody can ever read what they would pay for, though the task that awaits the run is kept."""
    limits, begun, free = Limits(1), [], threading.Event()

    @parallel_map(limits=limits)
    def ask(number):
        begun.append(number)
        free.wait()

    @parallel_map(limits=limits)
    def quick(number):
        return number

    async def job():
        if way == "amap":
            await ask.amap(range(1000))
        async for _ in ask.imap(range(1000)):
            pass

    async def main():
        task = asyncio.create_task(job())
        while not begun:
            await asyncio.sleep(0)
        return task

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # its task is destroyed while it is pending
    kept = loop.run_until_complete(main())
    loop.close()
    free.set()
    for number in range(20):  # each stands in line behind what the run would call next
        assert quick.map([number], deadline=60) == [number]
    assert begun == [0]
    del kept


def test_slots_of_a_dropped_iterator_come_back_though_its_loop_was_only_stopped():
    """Its calls are cancelled, which they see when the loop runs again, if it ever does."""
    limits, ask, quick = two_under_one_limits()

    async def first():
        return await anext(ask.imap(range(100)))

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(first()) == 0
        gc.collect()
        assert quick.map(range(4), deadline=120) == [0, 1, 2, 3]
        loop.run_until_complete(asyncio.sleep(0.01))  # on again: the cancelled calls end, and give back nothing twice
    finally:
        loop.close()
    assert (limits.stats.in_flight, quick.map(range(4))) == (0, [0, 1, 2, 3])


def test_a_blocking_call_where_a_dropped_iterators_calls_hold_every_slot_is_a_bridge_error():
    """They end when the loop goes on, which that call would block."""
    limits, ask, quick = two_under_one_limits()

    async def main():
        assert await anext(ask.imap(range(100))) == 0
        with pytest.raises(BridgeError):
            quick.map(range(3))
        while limits.stats.in_flight:
            await asyncio.sleep(0)
        return quick.map(range(3))

    assert asyncio.run(main()) == [0, 1, 2]
