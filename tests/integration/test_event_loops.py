"""The same script on every kind of loop: uvloop, and asyncio with eager tasks (3.12 and later)."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import sys
import threading
import time
import types
import warnings

import pytest

from fanmap import BridgeError, Limits, gather_bounded, parallel_map, partial_results, to_sync
from fanmap._drive.drivers import portal

pytestmark = pytest.mark.usefixtures("nothing_left")


class Broke(Exception):
    pass


async def script():
    """Orders, failures, laziness and nesting, without a clock."""
    limits = Limits(max_concurrency=3)

    @parallel_map(limits=limits)
    async def double(item):
        for _ in range(item % 3):
            await asyncio.sleep(0)
        return item * 2

    @parallel_map(limits=limits)
    async def nested(item):
        return sum(await double.amap(range(item)))

    @parallel_map(max_concurrency=3)
    async def shaky(item):
        await asyncio.sleep(0)
        if item == 5:
            raise Broke
        return item

    with pytest.raises(Broke) as raised:
        await shaky.amap(range(10))
    first, inputs = [], itertools.count()
    async for value in double.imap(inputs):
        first.append(value)
        if value == 0:
            for _ in range(500):  # turns of the loop in which more could be taken
                await asyncio.sleep(0)
        if value > 20:
            break
    ahead = next(inputs) - len(first)
    return (
        await double.amap(range(40)),
        [value async for value in double.imap(range(40))],
        sorted([outcome.value async for outcome in double.as_completed(iter(range(40)))]),
        [type(value) for value in await shaky.amap(range(8), return_exceptions=True)],
        partial_results(raised.value),
        (first, ahead),
        await nested.amap(range(12)),
        await gather_bounded((double(item) for item in range(20)), limits=limits),
        double.map(range(5)),
        await asyncio.gather(*(double(item) for item in range(9))),
    )


async def in_time():
    # Not by a signal: uvloop would go on after the handler's exception.
    async with asyncio.timeout(120):
        return await script()


def plain():
    return asyncio.new_event_loop()


def eager():
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def uv():
    return pytest.importorskip("uvloop").new_event_loop()


@pytest.mark.parametrize("new_loop", [plain, eager, uv])
def test_the_same_script_gives_the_same_results_on_every_loop(new_loop):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        result = runner.run(in_time())
        assert not [task for task in asyncio.all_tasks(runner.get_loop()) if not task.done()]
    doubled = [2 * item for item in range(40)]
    assert result[0] == result[1] == result[2] == doubled
    assert [kind.__name__ for kind in result[3]] == ["int"] * 5 + ["Broke"] + ["int"] * 2
    # The failing item began when no more than two others were under way, so that three before it had ended.
    assert all(index == value != 5 for index, value in result[4].items())
    assert len(result[4].keys() & set(range(5))) >= 3
    first, ahead = result[5]
    assert first == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]
    assert 0 <= ahead <= 8 * 3  # of three at once, inputs beyond what was consumed
    assert result[6] == [item * (item - 1) for item in range(12)]
    assert result[7] == doubled[:20]
    assert result[8] == doubled[:5]
    assert result[9] == doubled[:9]


def test_a_thread_that_is_importing_trio_is_in_nobody_s_way(monkeypatch):
    monkeypatch.setitem(sys.modules, "trio", types.ModuleType("trio"))
    assert ask_nothing.map([1, 2]) == [1, 2]


@parallel_map
def ask_nothing(item):
    return item


@pytest.mark.parametrize("factory", ["of before 3.11", "that raises once"])
def test_a_run_ends_with_what_a_task_factory_raised(factory):
    def old(loop, work):
        return asyncio.Task(work, loop=loop)

    asked = []

    def once(loop, work, **options):
        asked.append(work)
        if len(asked) == 2:
            raise MemoryError("no task")
        return asyncio.Task(work, loop=loop, **options)

    @parallel_map(max_concurrency=2)
    async def ask(number):
        return number

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(old if factory == "of before 3.11" else once)
        try:
            with pytest.raises((TypeError, MemoryError), match="context|no task"):
                await ask.amap(range(4))
        finally:
            loop.set_task_factory(None)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()
    assert ask.limits.stats.in_flight == 0


@pytest.mark.parametrize("whose", ["direct", "run"])
def test_a_loop_that_moves_to_another_thread_is_woken_from_the_one_it_came_from(whose):
    """Set up by `run_until_complete`, and then run for ever beside: a slot comes back in the first thread."""
    limits = Limits(max_concurrency=1)
    own = contextvars.copy_context()  # what is set up is not inside the block

    @parallel_map(limits=limits)
    async def ask(number):
        return number

    async def asking():
        return await ask(1) if whose == "direct" else (await ask.amap([1]))[0]

    async def set_up():
        asking_there = asyncio.ensure_future(asking())
        while not limits.stats.waiting:
            await asyncio.sleep(0)
        return asking_there

    loop = asyncio.new_event_loop()
    loop.set_debug(True)  # else it is woken by chance, when it next looks
    with limits:
        there = own.run(loop.run_until_complete, set_up())
        running = threading.Thread(target=loop.run_forever)
        running.start()
        while not loop.is_running():
            time.sleep(0.001)
    answered = threading.Event()
    loop.call_soon_threadsafe(there.add_done_callback, lambda _: answered.set())
    found = answered.wait(300)
    loop.call_soon_threadsafe(loop.stop)
    running.join()
    try:
        assert found
        assert there.result() == 1
    finally:
        there.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_an_asyncio_loop_that_is_host_to_trio_is_asyncio_in_its_own_tasks():
    trio = pytest.importorskip("trio")

    @parallel_map(max_concurrency=2)
    async def ask(number):
        return number

    async def guest():
        await trio.sleep(0)
        return await ask.amap(range(4))

    async def main():
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        outcomes = []

        def done(outcome):
            outcomes.append(outcome)
            over.set()

        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done,
            host_uses_signal_set_wakeup_fd=True,
        )
        here = await ask.amap(range(4))
        await over.wait()
        return here, outcomes[0].unwrap()

    assert asyncio.run(main()) == ([0, 1, 2, 3], [0, 1, 2, 3])


@pytest.mark.filterwarnings("ignore:a blocking run")
@pytest.mark.parametrize("blocks", ["the guest", "the host"])
def test_a_blocking_call_where_host_or_guest_hold_every_slot_is_a_bridge_error(blocks):
    """Whichever of the two blocks their thread, the other's calls stand still as well."""
    trio = pytest.importorskip("trio")
    limits, held = Limits(1), []

    @parallel_map(limits=limits)
    def quick(number):
        return number

    async def hold(sleep):
        async with limits:
            held.append(limits)
            while len(held) < 2:
                await sleep(0)

    async def block(sleep):
        while not held:
            await sleep(0)
        try:
            with pytest.raises(BridgeError):
                quick.map(range(2), deadline=20)
        finally:
            held.append(limits)

    host, guest = (hold, block) if blocks == "the guest" else (block, hold)

    async def main():
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            trio.sleep,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=over.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        await host(asyncio.sleep)
        (await over).unwrap()
        return await quick.amap(range(2))

    assert asyncio.run(main()) == [0, 1]


def test_a_greenlet_is_not_in_the_background_loop_of_its_thread(recwarn):
    """gevent and eventlet make greenlets of threads, and asyncio takes the loop in one for the loop of all."""
    over = threading.Event()

    @parallel_map(max_concurrency=1)
    async def double(number):
        while number and not (double.stats.waiting or over.is_set()):
            await asyncio.sleep(0)
        return 2 * number

    other = threading.Thread(target=double.map, args=([1],))
    other.start()
    while double.stats.in_flight == 0:
        time.sleep(0)
    asyncio._set_running_loop(portal.loop())  # what asyncio knows of a greenlet beside it
    try:
        assert double.map([0]) == [0]  # it waits for the other's slot
        assert list(double.imap([0])) == [0]
        assert to_sync(double)(0) == 0
    finally:
        asyncio._set_running_loop(None)
        over.set()
        other.join()
    assert list(recwarn) == []
