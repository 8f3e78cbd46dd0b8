"""Virtual time: nobody waits for real, nobody is jumped past, and who is stuck is told so."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time

import anyio
import pytest
import trio

from fanmap import Limits, Rate, parallel_map, to_async, to_sync
from fanmap._drive import clock
from fanmap._drive.drivers import portal
from fanmap._drive.drivers.thread_waiter import Waiter
from fanmap.testing import Deadlock, SimulatedLLM, VirtualTime, _baton, _virtual, sleep


@parallel_map(max_concurrency=4)
def plain(seconds):
    sleep(seconds)
    return clock.now()


@parallel_map(max_concurrency=4)
async def awaited(seconds):
    await anyio.sleep(seconds)
    return clock.now()


WAYS = {
    "threads": lambda virtual: plain.map([600] * 40),
    "threads from asyncio": lambda virtual: virtual.run(plain.amap([600] * 40)),
    "threads from trio": lambda virtual: virtual.run_trio(plain.amap, [600] * 40),
    "asyncio": lambda virtual: virtual.run(awaited.amap([600] * 40)),
    "trio": lambda virtual: virtual.run_trio(awaited.amap, [600] * 40),
    "background loop": lambda virtual: awaited.map([600] * 40),
}


@pytest.mark.parametrize("way", WAYS)
def test_hours_pass_in_milliseconds_and_no_thread_is_jumped_past(way):
    with VirtualTime() as virtual:
        ended = WAYS[way](virtual)
        assert ended == [600.0 * (1 + i // 4) for i in range(40)]
        assert virtual.now() == 6000.0


@pytest.mark.parametrize("run", [VirtualTime.run, lambda virtual, coro: virtual.run_trio(lambda: coro)])
def test_the_loop_the_library_and_the_test_read_the_same_clock(run):
    async def main():
        before = anyio.current_time(), clock.now(), virtual.now()
        await anyio.sleep(0.1)
        return before, (anyio.current_time(), clock.now(), virtual.now())

    with VirtualTime(start=17.5) as virtual:
        before, after = run(virtual, main())
    assert before == (17.5,) * 3
    assert after == (17.6,) * 3


def test_threads_of_the_loops_executor_and_of_to_async_are_counted():
    async def main():
        await asyncio.gather(asyncio.to_thread(sleep, 100), asyncio.sleep(50), to_async(sleep)(200))
        return clock.now()

    with VirtualTime() as virtual:
        assert virtual.run(main()) == 200.0


class NoError(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("raised", [KeyError, NoError])
def test_what_an_executor_thread_raises_is_awaited(raised):
    def fail():
        raise raised("x")

    async def main():
        with pytest.raises(raised):
            await asyncio.to_thread(fail)

    with VirtualTime() as virtual:
        virtual.run(main())


def test_the_end_of_a_loop_waits_for_threads_of_its_executor_that_nobody_awaits(monkeypatch):
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)

    async def main(seconds):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(sleep, seconds), 1)
        return clock.now()

    with VirtualTime() as virtual:
        assert virtual.run(main(100)) == 1.0
        assert virtual.now() == 100.0
    with VirtualTime() as virtual:
        loop = clock.world.new_event_loop()
        assert loop.run_until_complete(main(100)) == 1.0
        loop.close()
        virtual.sleep(200)
    assert died == []


def test_threads_asyncio_and_trio_share_one_limits_on_one_clock():
    limits = Limits(100, rate=Rate(10, 10, burst=1))
    starts = []

    @parallel_map(limits=limits)
    def one(item):
        starts.append(clock.now())
        sleep(3)

    @parallel_map(limits=limits)
    async def other(item):
        starts.append(clock.now())
        await anyio.sleep(3)

    with VirtualTime() as virtual:
        a = virtual.start(one.map, range(10))
        b = virtual.start(virtual.run, other.amap(range(10)))
        c = virtual.start(virtual.run_trio, other.amap, range(10))
        other.map(range(10))
        for thread in (a, b, c):
            virtual.join(thread)
    assert starts == [pytest.approx(float(i)) for i in range(40)]


def test_a_simulated_llm_takes_virtual_time():
    llm = SimulatedLLM(latency=3600, sigma=0)
    with VirtualTime() as virtual:
        parallel_map(max_concurrency=2)(llm.__call__).map(["a", "b", "c"])
        assert virtual.now() == 7200.0
        virtual.run_trio(llm.acall, "d")
        assert virtual.now() == 10800.0


def interleaving(seed):
    trace = []

    def work(name):
        for _ in range(5):
            trace.append(name)
            sleep(0)

    with VirtualTime(seed=seed) as virtual:
        for thread in [virtual.start(work, name) for name in "abc"]:
            virtual.join(thread)
    return "".join(trace)


def test_the_seed_chooses_the_interleaving_and_replays_it():
    assert interleaving(None) == "abc" * 5
    assert len({interleaving(seed) for seed in range(20)}) > 10
    assert [interleaving(seed) for seed in range(20)] == [interleaving(seed) for seed in range(20)]


async def waits_forever_on_asyncio():
    await asyncio.Event().wait()


async def waits_forever_on_trio():
    await trio.Event().wait()


def waits_forever():
    Waiter().wait(None)


STUCK = {
    "asyncio": lambda virtual: virtual.run(waits_forever_on_asyncio()),
    "trio": lambda virtual: virtual.run_trio(waits_forever_on_trio),
    "background loop": lambda virtual: to_sync(waits_forever_on_asyncio)(),
    "threads": lambda virtual: parallel_map(lambda _: waits_forever()).map([1]),
}


@pytest.mark.parametrize("way", STUCK)
def test_a_deadlock_is_reported_with_who_waits_where(way):
    with VirtualTime() as virtual, pytest.raises(Deadlock, match=r"waits_forever\w* \(test_virtual_time\.py:\d+\)"):
        STUCK[way](virtual)


def test_a_slot_that_is_never_given_back_is_a_deadlock_although_waiting_calls_guard_against_lost_heads():
    limits = Limits(1)

    async def main():
        async with limits:
            await parallel_map(limits=Limits(1))(asyncio.sleep)(1)
            await asyncio.gather(*(asyncio.create_task(enter(), context=empty.copy()) for _ in range(3)))

    async def enter():
        async with limits:
            pass

    import contextvars

    empty = contextvars.Context()
    with VirtualTime() as virtual, pytest.raises(Deadlock, match="enter"):
        virtual.run(main())


def test_a_program_that_sets_timers_for_ever_is_stuck_at_the_horizon():
    async def main():
        while True:
            await asyncio.sleep(60)

    with VirtualTime(horizon=86400) as virtual, pytest.raises(Deadlock, match="main"):
        virtual.run(main())


def test_the_collector_rests_while_it_is_looked_who_waits(monkeypatch):
    """On CPython 3.11 the collector may wait for ever there, with the interpreter's lock in its hands."""
    look, collects = sys._current_frames, []

    def watched():
        collects.append(gc.isenabled())
        return look()

    async def main():
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(sys, "_current_frames", watched)
    with VirtualTime() as virtual, pytest.raises(Deadlock, match="main"):
        virtual.run(main())
    assert collects and not any(collects)
    assert gc.isenabled()


def test_something_outside_may_still_wake_a_loop_that_has_nothing_to_do(monkeypatch):
    monkeypatch.setattr(_baton, "_GRACE", 120.0)  # a busy machine may start the timer's thread late

    async def main():
        loop, future = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        timer = threading.Timer(0.05, loop.call_soon_threadsafe, [future.set_result, "outside"])
        timer.start()
        said = await future
        timer.join()  # or the next test sees its thread end
        return said

    with VirtualTime() as virtual:
        assert virtual.run(main()) == "outside"


def test_threads_that_still_sleep_end_with_the_block(monkeypatch):
    monkeypatch.setattr(_virtual, "_LAST_WORDS", 120.0)
    with VirtualTime() as virtual:
        thread = virtual.start(sleep, 1e6)
        virtual.sleep(1)
        assert thread.is_alive()
    assert not thread.is_alive()


def test_nothing_of_it_stays_behind(monkeypatch):
    monkeypatch.setattr(_virtual, "_LAST_WORDS", 120.0)
    before = set(threading.enumerate())
    for way in WAYS.values():
        with VirtualTime() as virtual:
            way(virtual)
    assert set(threading.enumerate()) <= before  # what other tests have left may end meanwhile
    before, now, after = time.monotonic(), clock.now(), time.monotonic()
    assert before <= now <= after
    assert plain.map([0]) and awaited.map([0])
    assert not portal.is_here()


def test_a_thread_that_is_not_counted_may_not_wait():
    caught = []

    def outsider():
        try:
            sleep(1)
        except RuntimeError as error:
            caught.append(str(error))

    with VirtualTime():
        thread = threading.Thread(target=outsider, name="outsider")
        thread.start()
        thread.join()
    assert caught == ["virtual time does not control the thread 'outsider': start it with VirtualTime.start()"]


def test_blocks_cannot_be_nested():
    with (
        VirtualTime(),
        pytest.raises(RuntimeError, match="virtual time is already active: its blocks cannot be nested"),
        VirtualTime(),
    ):
        pass


def test_outside_of_virtual_time_sleep_is_real():
    began = time.perf_counter()
    sleep(0.02)
    assert time.perf_counter() - began >= 0.02


def test_what_the_engine_needs_of_virtual_time_is_not_part_of_its_face():
    public = {name for name in vars(VirtualTime) if not name.startswith("_")}
    assert public == {"now", "sleep", "run", "run_trio", "start", "join"}
