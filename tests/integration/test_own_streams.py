"""Who reads streams and waits for a slot that only they have is told so: they go on when it takes their next chunk."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest
import trio

from fanmap import BridgeError, Limits, parallel_map
from fanmap._drive.limits.limits import budget_of
from fanmap.testing import VirtualTime, sleep

WAITS = "would wait for ever: streams hold every slot"
both_loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


async def pause(seconds):
    await (trio.sleep(seconds) if trio.lowlevel.in_trio_run() else asyncio.sleep(seconds))


def awaited(loop, main):
    with VirtualTime() as virtual:
        return virtual.run_trio(main) if loop == "trio" else virtual.run(main())


class Here:
    """Functions under one Limits."""

    def __init__(self, slots):
        self.limits = limits = Limits(slots)

        @parallel_map(limits=limits)
        def ask(item):
            sleep(1.0)
            return item

        @parallel_map(limits=limits)
        async def aask(item):
            await pause(1.0)
            return item

        @parallel_map(limits=limits)
        def tell(item):
            for chunk in range(3):
                sleep(1.0)
                yield item, chunk

        @parallel_map(limits=limits)
        async def atell(item):
            for chunk in range(3):
                await pause(1.0)
                yield item, chunk

        self.ask, self.aask, self.tell, self.atell = ask, aask, tell, atell

    def rest(self):
        stats = self.limits.stats
        assert (stats.in_flight, stats.waiting) == (0, 0)
        with VirtualTime():
            assert self.ask.map(range(3)) == [0, 1, 2]


def block(here):
    with here.limits:
        raise AssertionError


BODIES = {
    "call": (lambda here: here.ask(1), "ask"),
    "map": (lambda here: here.ask.map([1, 2]), "ask"),
    "imap": (lambda here: list(here.ask.imap([1, 2])), "ask"),
    "amap": (lambda here: here.aask.map([1, 2]), "aask"),
    "stream": (lambda here: list(here.tell.stream([1, 2])), "tell"),
    "direct stream": (lambda here: list(here.tell(1)), "tell"),
    "block": (block, "a block under Limits"),
}


async def ablock(here):
    async with here.limits:
        raise AssertionError


async def every(results):
    return [one async for one in results]


ABODIES = {
    "call": (lambda here: here.aask(1), "aask"),
    "amap": (lambda here: here.aask.amap([1, 2]), "aask"),
    "threads": (lambda here: here.ask.amap([1, 2]), "ask"),
    "direct stream": (lambda here: every(here.atell(1)), "atell"),
    "block": (ablock, "a block under Limits"),
}


@pytest.mark.parametrize("streams", ["threads", "the background loop", "a direct call"])
@pytest.mark.parametrize("body", BODIES)
def test_in_threads(body, streams):
    here, (run, name) = Here(1 if streams == "a direct call" else 2), BODIES[body]
    with VirtualTime():
        function = here.atell if streams == "the background loop" else here.tell
        results = here.tell(7) if streams == "a direct call" else function.stream(range(5))
        with pytest.raises(BridgeError, match=f"^{name} {WAITS}"):
            for _ in results:
                run(here)
        results.close()
        sleep(100.0)
    here.rest()


@both_loops
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("body", ABODIES)
def test_in_tasks(body, direct, loop):
    here, (run, name) = Here(1 if direct else 2), ABODIES[body]

    async def main():
        results = here.atell(7) if direct else here.atell.stream(range(5))
        with pytest.raises(BridgeError, match=f"^{name} {WAITS}"):
            if direct:
                async for _ in results:
                    await run(here)
            else:
                async with results:
                    async for _ in results:
                        await run(here)
        await results.aclose()

    awaited(loop, main)
    here.rest()


@both_loops
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("body", ABODIES)
def test_in_a_loop_that_the_reader_runs_in_its_body(body, direct, loop):
    """`asyncio.run` in a `for` over streams: its tasks waited for ever."""
    here, (run, name) = Here(1 if direct else 2), ABODIES[body]

    async def main():
        await run(here)

    with VirtualTime() as virtual:
        results = here.tell(7) if direct else here.tell.stream(range(5))
        with pytest.raises(BridgeError, match=f"^{name} {WAITS}"):
            for _ in results:
                if loop == "trio":
                    virtual.run_trio(main)
                else:
                    virtual.run(main())
        results.close()
        sleep(100.0)
    here.rest()


def test_before_the_first_chunk_too():
    here = Here(2)
    with VirtualTime():
        with here.tell.stream(range(5)), pytest.raises(BridgeError, match=f"^ask {WAITS}"):
            sleep(0.5)
            here.ask(1)
        assert not budget_of(here.limits).readers
        sleep(100.0)
    here.rest()


def test_where_a_slot_is_left_the_body_goes_on():
    here = Here(3)
    with VirtualTime():
        found = [here.ask(index) for index, _ in here.tell.stream(range(5), max_concurrency=2)]
    assert sorted(found) == sorted(list(range(5)) * 3)
    here.rest()


@both_loops
def test_others_wait_for_as_long_as_a_reader_takes(loop):
    here, found = Here(1), []

    async def slow():
        async for _ in here.atell(7):
            await pause(100.0)

    async def other():
        await pause(1.5)
        found.append(await here.aask(1))

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(slow)
            group.start_soon(other)

    awaited(loop, main)
    assert found == [1]
    here.rest()


def test_so_do_threads_and_whoever_has_handed_a_stream_on():
    here, found = Here(1), []

    def slow(stream):
        for _ in stream:
            sleep(100.0)

    with VirtualTime() as virtual:
        stream = here.tell(7)
        next(stream)
        reading = virtual.start(slow, stream)
        sleep(5.0)
        found.append(here.ask(1))  # this thread began what the other one reads
        virtual.join(reading)
    assert found == [1]
    here.rest()


def long_ends(here):
    """A stream whose end comes long after its last chunk."""

    @parallel_map(limits=here.limits)
    def tell(item):
        yield item
        sleep(60.0)

    @parallel_map(limits=here.limits)
    async def atell(item):
        yield item
        await pause(60.0)

    return tell, atell


def test_a_stream_that_is_on_its_way_to_its_end_is_waited_for():
    here = Here(1)
    with VirtualTime():
        for function in long_ends(here):
            assert [here.ask(index) for index, _ in function.stream([1])] == [0]
    here.rest()


@both_loops
def test_in_tasks_too(loop):
    here = Here(1)

    async def main():
        async with long_ends(here)[1].stream([1]) as results:
            return [await here.aask(index) async for index, _ in results]

    assert awaited(loop, main) == [0]
    here.rest()


def test_so_is_a_direct_one_that_somebody_else_reads():
    here, found = Here(1), []
    with VirtualTime() as virtual:
        stream = long_ends(here)[0](7)
        next(stream)
        reading = virtual.start(list, stream)
        sleep(1.0)
        found.append(here.ask(1))
        virtual.join(reading)
    assert found == [1]
    here.rest()


@both_loops
def test_and_an_async_one(loop):
    here, found = Here(1), []

    async def main():
        stream = long_ends(here)[1](7)
        await anext(stream)
        async with anyio.create_task_group() as group:
            group.start_soon(every, stream)
            await pause(1.0)
            found.append(await here.aask(1))

    awaited(loop, main)
    assert found == [1]
    here.rest()


def test_whoever_goes_on_with_a_stream_is_its_reader():
    here = Here(1)

    def go_on(stream):
        next(stream)
        with pytest.raises(BridgeError, match=f"^ask {WAITS}"):
            here.ask(1)
        stream.close()

    with VirtualTime() as virtual:
        stream = here.tell(7)
        next(stream)
        virtual.join(virtual.start(go_on, stream))
    here.rest()


@both_loops
def test_and_of_an_async_one(loop):
    here, told = Here(1), []

    async def go_on(stream):
        await anext(stream)
        with pytest.raises(BridgeError, match=f"^aask {WAITS}"):
            await here.aask(1)
        told.append(True)
        await stream.aclose()

    async def main():
        stream = here.atell(7)
        await anext(stream)
        async with anyio.create_task_group() as group:
            group.start_soon(go_on, stream)

    awaited(loop, main)
    assert told == [True]
    here.rest()


def test_of_several_readers_nobody_knows_who_takes_the_next_chunk():
    here, found = Here(2), []
    taken = threading.Event()

    def slow(results):
        for _ in results:
            taken.set()
            sleep(50.0)

    with VirtualTime() as virtual:
        results = here.tell.stream(range(4))
        next(results)
        reading = virtual.start(slow, results)
        sleep(5.0)
        assert taken.is_set()
        found.append(here.ask(1))
        virtual.join(reading)
    assert found == [1]
    here.rest()
