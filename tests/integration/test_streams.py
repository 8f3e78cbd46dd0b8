"""Streams hold their slot: of direct calls to their end, in runs until a worker has read them."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import json
import logging
import pickle
import threading
from collections.abc import AsyncGenerator, Generator
from types import SimpleNamespace

import pytest
import trio

from fanmap import (
    Busy,
    CallTimeout,
    DeadlineExceeded,
    Limits,
    Rate,
    Retry,
    gather_bounded,
    parallel_map,
    partial_results,
)
from fanmap._drive import clock
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep

both_loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])
both_kinds = pytest.mark.parametrize("returns", [False, True], ids=["yields", "returns"])


def refusal(wait="1"):
    return SimulatedAPIError("simulated", 429, {"retry-after": wait}, {})


def awaited(loop, main):
    with VirtualTime() as virtual:
        return virtual.run_trio(main) if loop == "trio" else virtual.run(main())


async def pause(seconds):
    await (trio.sleep(seconds) if trio.lowlevel.in_trio_run() else asyncio.sleep(seconds))


async def together(*functions):
    results = [None] * len(functions)

    async def one(place, function):
        try:
            results[place] = await function()
        except Exception as error:
            results[place] = error

    if trio.lowlevel.in_trio_run():
        async with trio.open_nursery() as nursery:
            for place, function in enumerate(functions):
                nursery.start_soon(one, place, function)
    else:
        await asyncio.gather(*(one(place, function) for place, function in enumerate(functions)))
    return results


class Streams:
    """Functions whose streams are counted; `fails` says what befalls an attempt, before which chunk."""

    def __init__(self, limits, *, chunks=3, **settings):
        self.limits, self.chunks, self.settings = limits, chunks, settings
        self.open = self.most = 0
        self.opened: list[object] = []
        self.closed: list[object] = []
        self.fails: dict[object, list[tuple[int, BaseException]]] = {}

    def begin(self, item):
        self.open += 1
        self.most = max(self.most, self.open)
        self.opened.append(item)
        return self.fails.get(item, []).pop(0) if self.fails.get(item) else (-1, None)

    def end(self, item):
        self.open -= 1
        self.closed.append(item)

    def sync(self, *, returns=False):
        def stream(item):
            at, error = self.begin(item)
            try:
                for place in range(self.chunks):
                    if place == at:
                        raise error
                    sleep(1.0)
                    yield item, place
            finally:
                self.end(item)

        def tell(item):
            return stream(item)

        return parallel_map(limits=self.limits, **self.settings)(tell if returns else stream)

    def awaited(self, *, returns=False):
        async def stream(item):
            at, error = self.begin(item)
            try:
                for place in range(self.chunks):
                    if place == at:
                        raise error
                    await pause(1.0)
                    yield item, place
            finally:
                self.end(item)

        async def tell(item):
            return stream(item)

        return parallel_map(limits=self.limits, **self.settings)(tell if returns else stream)

    def expected(self, item):
        return [(item, place) for place in range(self.chunks)]

    def rest(self):
        assert self.open == 0
        assert (self.limits.stats.in_flight, self.limits.stats.waiting) == (0, 0)


async def read(function, item, *, returns=False):
    stream = await function(item) if returns else function(item)
    return [chunk async for chunk in stream]


# Direct calls


@both_loops
@both_kinds
def test_never_more_streams_are_open_than_slots(loop, returns):
    streams = Streams(Limits(2))
    tell = streams.awaited(returns=returns)

    async def main():
        results = await together(*[lambda n=n: read(tell, n, returns=returns) for n in range(20)])
        assert results == [streams.expected(n) for n in range(20)]

    awaited(loop, main)
    assert streams.most == 2
    streams.rest()
    assert streams.limits.stats.done == 20


@both_kinds
def test_nor_are_in_threads(returns):
    with VirtualTime() as virtual:
        streams, found = Streams(Limits(2)), []
        tell = streams.sync(returns=returns)
        for thread in [virtual.start(lambda n=n: found.append(list(tell(n)))) for n in range(8)]:
            virtual.join(thread)
    assert sorted(found) == [streams.expected(n) for n in range(8)]
    assert streams.most == 2
    streams.rest()


def test_a_stream_that_nobody_reads_takes_nothing():
    streams = Streams(Limits(1, rpm=10))
    kept = [streams.sync()(1), streams.awaited()(2)]
    assert streams.limits.stats.in_flight == streams.limits.stats.started == 0
    assert streams.opened == []
    del kept
    gc.collect()
    streams.rest()


def test_a_stream_that_is_read_half_and_closed_gives_its_slot_back_at_once():
    with VirtualTime():
        streams = Streams(Limits(1))
        tell = streams.sync()
        stream = tell(1)
        assert next(stream) == (1, 0)
        assert streams.limits.stats.in_flight == 1
        stream.close()
        streams.rest()
        stream.close()  # again: nothing
        assert list(stream) == []
        assert streams.closed == [1]
        with tell(2) as stream:
            next(stream)
        streams.rest()


@both_loops
@both_kinds
def test_so_does_an_async_one(loop, returns):
    streams = Streams(Limits(1))
    tell = streams.awaited(returns=returns)

    async def main():
        stream = await tell(1) if returns else tell(1)
        assert await anext(stream) == (1, 0)
        assert streams.limits.stats.in_flight == 1
        await stream.aclose()
        streams.rest()
        await stream.aclose()
        assert [chunk async for chunk in stream] == []
        async with await tell(2) if returns else tell(2) as stream:
            await anext(stream)
        streams.rest()

    awaited(loop, main)


@pytest.mark.whole
def test_ten_thousand_abandoned_streams_lose_no_slot(caplog):
    limits = Limits(4)

    @parallel_map(limits=limits)
    def tell(item):
        yield item
        yield item

    @parallel_map(limits=limits)
    async def atell(item):
        yield item
        yield item

    async def main():
        for item in range(5_000):
            assert await anext(atell(item)) == item

    with caplog.at_level(logging.INFO, "fanmap"):
        for item in range(5_000):
            assert next(tell(item)) == item
        asyncio.run(main())
    assert (limits.stats.in_flight, limits.stats.started, limits.stats.done) == (0, 10_000, 10_000)
    assert caplog.records == []  # it is said at DEBUG


def test_one_that_stands_in_a_cycle_is_collected():
    limits = Limits(1)

    @parallel_map(limits=limits)
    def tell(item):
        yield item
        yield item

    stream = tell(1)
    next(stream)
    around = SimpleNamespace(stream=stream)
    around.itself = around
    del stream, around
    gc.collect()
    assert limits.stats.in_flight == 0
    assert list(tell(2)) == [2, 2]


def test_a_stream_may_move_to_another_thread():
    limits = Limits(1)

    @parallel_map(limits=limits)
    def tell(item):
        yield from range(item)

    stream, found = tell(4), []
    assert next(stream) == 0
    thread = threading.Thread(target=lambda: found.extend(stream))
    thread.start()
    thread.join(60)
    assert found == [1, 2, 3]
    assert (limits.stats.in_flight, limits.stats.done) == (0, 1)
    assert tell.map([1]) == [[0]]


def generator(chunks):
    """Gives what it was sent after each chunk; goes on when it is thrown a LookupError, and ends with all others."""
    said = None
    for place in range(chunks):
        try:
            said = yield (place, said)
        except LookupError as error:
            if type(error) is not LookupError:
                raise
            said = "thrown"


async def async_generator(chunks):
    steps = generator(chunks)
    said = next(steps)
    while True:
        try:
            said = steps.send((yield said))
        except StopIteration:
            return
        except LookupError as error:
            said = steps.throw(error)


@pytest.mark.parametrize("kind", [generator, async_generator])
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_is_not_copied_as_a_generator_is_not(kind, again):
    """Of two that had one slot, the first to be dropped would give it back."""
    stream = parallel_map(kind)(3)
    with pytest.raises(TypeError, match="a stream is read once and cannot be copied or pickled"):
        again(stream)


def test_a_generator_that_ends_where_it_is_sent_or_thrown_something_gives_its_slot_back():
    tell = parallel_map(max_concurrency=1)(generator)
    stream = tell(3)
    assert [next(stream), stream.send("hello"), stream.throw(LookupError())] == [(0, None), (1, "hello"), (2, "thrown")]
    assert tell.stats.in_flight == 1
    with pytest.raises(StopIteration):
        stream.send("goodbye")
    assert tell.stats.in_flight == 0
    stream = tell(3)
    next(stream)
    with pytest.raises(KeyError) as caught:
        stream.throw(KeyError("mine"))
    assert tell.stats.in_flight == 0
    assert tell.stats.failed == 1
    with pytest.raises(KeyError):  # as a generator that is over has it
        stream.throw(KeyError("mine"))
    assert list(stream) == []
    assert caught.value.args == ("mine",)


@both_loops
def test_an_async_generator_that_ends_there_does_so_too(loop):
    tell = parallel_map(max_concurrency=1)(async_generator)

    async def main():
        stream = tell(3)
        assert await anext(stream) == (0, None)
        assert await stream.asend("hello") == (1, "hello")
        assert await stream.athrow(LookupError()) == (2, "thrown")
        assert tell.stats.in_flight == 1
        with pytest.raises(StopAsyncIteration):
            await stream.asend("goodbye")
        assert tell.stats.in_flight == 0
        stream = tell(3)
        await anext(stream)
        with pytest.raises(KeyError):
            await stream.athrow(KeyError("mine"))
        assert tell.stats.in_flight == 0
        assert [chunk async for chunk in stream] == []

    awaited(loop, main)


def test_a_generator_may_be_sent_and_thrown_something_before_its_first_chunk():
    """A loop of an agent's sends None first, and then what it found."""
    tell = parallel_map(max_concurrency=1)(generator)
    stream = tell(3)
    assert isinstance(stream, Generator)
    with pytest.raises(TypeError, match="can't send non-None value to a just-started generator"):
        stream.send("too early")
    assert [stream.send(None), stream.send("hello")] == [(0, None), (1, "hello")]
    stream.close()
    for closed in (False, True):
        stream = tell(3)
        if closed:
            stream.close()
        with pytest.raises(KeyError):
            stream.throw(KeyError("mine"))
        assert list(stream) == []
    with pytest.raises(StopIteration):
        stream.send(None)
    assert (tell.stats.started, tell.stats.in_flight) == (1, 0)


@both_loops
def test_and_so_may_an_async_one(loop):
    tell = parallel_map(max_concurrency=1)(async_generator)

    async def main():
        stream = tell(3)
        assert isinstance(stream, AsyncGenerator)
        with pytest.raises(TypeError, match="can't send non-None value to a just-started generator"):
            await stream.asend("too early")
        assert [await stream.asend(None), await stream.asend("hello")] == [(0, None), (1, "hello")]
        await stream.aclose()
        for closed in (False, True):
            stream = tell(3)
            if closed:
                await stream.aclose()
            with pytest.raises(KeyError):
                await stream.athrow(KeyError("mine"))
            assert [chunk async for chunk in stream] == []
        with pytest.raises(StopAsyncIteration):
            await stream.asend(None)
        assert (tell.stats.started, tell.stats.in_flight) == (1, 0)

    awaited(loop, main)


def test_a_stream_that_is_read_after_its_loop_was_closed_holds_no_slot():
    limits = Limits(1)

    @parallel_map(limits=limits)
    async def tell(item):
        for place in range(item):
            await asyncio.sleep(0)
            yield place

    async def begin():
        stream = tell(3)
        assert await anext(stream) == 0
        return stream

    async def go_on():
        try:
            return [chunk async for chunk in stream]
        except RuntimeError:
            return []

    stream = asyncio.run(begin())
    assert asyncio.run(go_on()) in ([], [1, 2])  # asyncio.run has closed its generator
    assert limits.stats.in_flight == 0
    assert asyncio.run(go_on()) == []


def test_an_error_goes_to_the_reader_and_ends_the_stream():
    with VirtualTime():
        streams = Streams(Limits(1), retry=Retry(3))
        streams.fails[1] = [(1, ConnectionResetError("simulated"))]
        stream = streams.sync()(1)
        assert next(stream) == (1, 0)
        with pytest.raises(ConnectionResetError):
            next(stream)
        assert list(stream) == []
    assert streams.opened == [1]  # not read again, although repeats were asked for
    streams.rest()
    assert streams.limits.stats.failed == 1


@both_loops
def test_what_is_refused_before_the_first_chunk_is_sent_again(loop):
    streams = Streams(Limits(2), retry=Retry(3, wait=1.0))
    streams.fails[1] = [(0, refusal()), (0, ConnectionResetError("simulated"))]
    tell = streams.awaited()

    async def main():
        began = clock.now()
        assert await read(tell, 1) == streams.expected(1)
        assert clock.now() - began >= 1.0 + 3.0

    awaited(loop, main)
    assert streams.opened == [1, 1, 1]
    streams.rest()
    assert streams.limits.stats.refused == 1


def test_and_in_threads():
    with VirtualTime():
        streams = Streams(Limits(2))
        streams.fails[1] = [(0, refusal()), (0, refusal())]
        assert list(streams.sync()(1)) == streams.expected(1)
    assert streams.opened == [1, 1, 1]
    streams.rest()


@both_loops
def test_what_is_refused_after_the_first_chunk_is_not_but_the_others_wait(loop):
    streams = Streams(Limits(2))
    streams.fails[1] = [(1, refusal("5"))]
    tell = streams.awaited()

    async def main():
        stream = tell(1)
        assert await anext(stream) == (1, 0)
        with pytest.raises(SimulatedAPIError):
            await anext(stream)
        began = clock.now()
        await anext(second := tell(2))
        assert clock.now() - began >= 5.0
        await second.aclose()

    awaited(loop, main)
    assert streams.opened == [1, 2]
    streams.rest()


def test_a_stream_is_charged_at_its_first_chunk():
    with VirtualTime():
        streams = Streams(Limits(4, rate=Rate(1, 10.0, burst=1)), chunks=1)
        tell = streams.sync()
        first, second = tell(1), tell(2)
        sleep(100.0)
        began = clock.now()
        assert list(second) == [(2, 0)]
        assert list(first) == [(1, 0)]
        assert clock.now() - began == pytest.approx(11.0)
    streams.rest()


def test_usage_is_settled_from_the_last_chunk_that_carries_one():
    limits = Limits(4, tpm=600)

    @parallel_map(limits=limits)
    def tell(item, max_tokens=500):
        yield "a word"
        yield {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}}

    with VirtualTime():
        began = clock.now()
        for item in range(10):
            assert len(list(tell(item))) == 2
        assert clock.now() - began < 61.0 + 60.0  # by the estimates it would be ten minutes
        assert len(tell.map(range(10))) == 10
    assert limits.stats.tokens.total == 200


def test_timeout_bounds_the_wait_for_a_chunk_and_not_the_readers_own_time():
    with VirtualTime():
        streams = Streams(Limits(1), timeout=1.5)
        stream = streams.sync()(1)
        for place in range(3):
            assert next(stream) == (1, place)
            sleep(100.0)
        assert list(stream) == []
        streams.rest()


@both_loops
def test_a_chunk_that_is_late_ends_the_stream(loop):
    limits, late = Limits(1), []

    @parallel_map(limits=limits, timeout=1.5)
    async def tell(item):
        try:
            yield item
            await pause(2.0)
            yield item
        finally:
            late.append(item)

    async def main():
        stream = tell(1)
        assert await anext(stream) == 1
        with pytest.raises(CallTimeout):
            await anext(stream)
        assert late == [1]
        assert await tell.amap([2], return_exceptions=True) != [[2, 2]]

    awaited(loop, main)
    assert (limits.stats.in_flight, limits.stats.failed) == (0, 2)


@pytest.mark.parametrize("loop", [None, "asyncio", "trio"])
def test_a_stream_that_was_busy_began_nothing_and_may_be_read_again(loop):
    limits = Limits(1, max_waiting=0)

    @parallel_map(limits=limits)
    def tell(item):
        yield item

    @parallel_map(limits=limits)
    async def atell(item):
        yield item

    async def main():
        first, second = atell(1), atell(2)
        assert await anext(first) == 1
        for _ in range(2):
            with pytest.raises(Busy):
                await anext(second)
        await first.aclose()
        assert [chunk async for chunk in second] == [2]
        assert [chunk async for chunk in second] == []

    if loop is None:
        first, second = tell(1), tell(2)
        assert next(first) == 1
        for _ in range(2):
            with pytest.raises(Busy):
                next(second)
        first.close()
        assert list(second) == [2]
        assert list(second) == []
    else:
        awaited(loop, main)
    assert (limits.stats.in_flight, limits.stats.waiting, limits.stats.started) == (0, 0, 2)


@both_kinds
def test_a_chunk_of_a_def_that_is_late_ends_the_stream_although_its_code_runs_on(returns):
    limits = Limits(1)

    def chunks(item):
        yield item
        sleep(5.0)
        yield item

    def opened(item):
        return chunks(item)

    tell = parallel_map(limits=limits, timeout=1.5)(opened if returns else chunks)
    with VirtualTime():
        stream = tell(1)
        assert next(stream) == 1
        with pytest.raises(CallTimeout):
            next(stream)
        assert (limits.stats.in_flight, limits.stats.failed) == (0, 1)
        assert list(stream) == []
        stream.close()
        sleep(10.0)


@pytest.mark.parametrize("late", [0, 1], ids=["before its first chunk", "later"])
@pytest.mark.parametrize("way", ["def", "asyncio", "trio"])
def test_in_a_run_timeout_bounds_each_chunk_and_a_late_one_is_its_items_failure(way, late):
    limits = Limits(2)

    def seconds(item, place):
        return 5.0 if (item, place) == (1, late) else 0.9  # three chunks take longer than one may

    @parallel_map(limits=limits, timeout=1.0)
    def tell(item):
        for place in range(3):
            sleep(seconds(item, place))
            yield item, place

    @parallel_map(limits=limits, timeout=1.0)
    async def atell(item):
        for place in range(3):
            await pause(seconds(item, place))
            yield item, place

    if way == "def":
        with VirtualTime():
            results = tell.map(range(3), return_exceptions=True)
            sleep(10.0)
    else:
        results = awaited(way, lambda: atell.amap(range(3), return_exceptions=True))
    assert [results[0], results[2]] == [[(n, place) for place in range(3)] for n in (0, 2)]
    assert isinstance(results[1], CallTimeout)
    assert str(results[1]) == "a call took longer than 1.0 s"
    notes = ["fanmap: not sent again: its stream had begun"] if late else []
    assert [note for note in results[1].__notes__ if "sent again" in note] == notes
    assert (limits.stats.in_flight, limits.stats.done, limits.stats.failed) == (0, 3, 1)


def test_a_clients_stream_whose_chunk_is_late_is_closed_though_that_chunk_is_still_waited_for():
    made = []

    class Late(ClientStream):
        def __next__(self):
            sleep(5.0)
            return super().__next__()

    @parallel_map(timeout=1.0)
    def tell(item):
        made.append(Late(item))
        return made[-1]

    with VirtualTime():
        with pytest.raises(CallTimeout):
            tell.map([1])
        assert made[0].closed
        sleep(10.0)


def test_a_late_first_chunk_is_repeated_where_that_was_asked_for():
    slow = [True]
    with VirtualTime():
        limits = Limits(2)

        @parallel_map(limits=limits, timeout=1.0, retry=Retry(2, wait=0.1))
        def tell(item):
            if slow.pop():
                sleep(3.0)
            yield item

        slow[:] = [False, True]
        assert list(tell(1)) == [1]
        sleep(5.0)
    assert limits.stats.abandoned == 1


def test_a_stream_inside_a_call_runs_on_its_slot_and_calls_inside_a_stream_on_its():
    limits = Limits(1)

    @parallel_map(limits=limits)
    def ask(item):
        return item * 10

    @parallel_map(limits=limits)
    def tell(item):
        for place in range(item):
            yield ask(place)

    @parallel_map(limits=limits)
    def outer(item):
        return list(tell(item))

    assert list(tell(3)) == [0, 10, 20]
    assert outer(3) == [0, 10, 20]
    assert tell.map([2, 3]) == [[0, 10], [0, 10, 20]]
    assert limits.stats.in_flight == 0


bounded = pytest.mark.parametrize("timeout", [None, 60.0], ids=["no timeout", "timeout"])


@bounded
@pytest.mark.parametrize("same", [True, False])
def test_a_block_that_a_stream_is_in_between_two_chunks_is_around_what_comes_after(same, timeout):
    """What it calls there runs on the block's slot. It waited for ever, as the block waits for its code."""
    limits = Limits(1)

    @parallel_map(limits=limits)
    def ask(item):
        return item

    @parallel_map(limits=limits if same else Limits(1), timeout=timeout)
    def tell(item):
        with limits:
            yield 1
            yield ask(2)
            with limits:
                yield 3
        yield ask(4)

    with VirtualTime():
        assert list(tell(0)) == [1, 2, 3, 4]
        assert tell.map([0, 0]) == [[1, 2, 3, 4]] * 2
        assert sorted(tell.stream([0, 0])) == [(n, chunk) for n in (0, 1) for chunk in (1, 2, 3, 4)]
    assert limits.stats.in_flight == 0


@both_loops
@bounded
def test_and_a_block_of_an_async_stream(loop, timeout):
    limits = Limits(1)

    @parallel_map(limits=limits)
    async def ask(item):
        return item

    @parallel_map(limits=limits, timeout=timeout)
    async def tell(item):
        async with limits:
            yield 1
            yield await ask(2)
            async with limits:
                yield 3
        yield await ask(4)

    async def main():
        assert [chunk async for chunk in tell(0)] == [1, 2, 3, 4]
        assert await tell.amap([0, 0]) == [[1, 2, 3, 4]] * 2
        assert limits.stats.in_flight == 0

    awaited(loop, main)


said = contextvars.ContextVar("said", default="nothing")


@bounded
def test_what_a_generator_sets_in_its_context_it_finds_there_at_its_next_chunk(timeout):
    """And can take back, as a span of OpenTelemetry is, also where threads make its chunks."""

    @parallel_map(max_concurrency=2, timeout=timeout)
    def tell(item):
        before = said.set(item)
        try:
            yield said.get()
            yield said.get()
        finally:
            said.reset(before)

    assert list(tell("this")) == ["this", "this"]
    assert tell.map(["this", "that"]) == [["this", "this"], ["that", "that"]]
    assert sorted(tell.stream(["this", "that"])) == [(0, "this")] * 2 + [(1, "that")] * 2
    for leave in ("close", "throw"):
        stream = tell("this")
        assert next(stream) == "this"
        if leave == "close":
            stream.close()
        else:
            with pytest.raises(LookupError):
                stream.throw(LookupError())
        assert tell.stats.in_flight == 0
    assert said.get() == "nothing"


def test_the_readers_own_calls_between_two_chunks_are_not_inside_the_stream():
    limits = Limits(2)

    @parallel_map(limits=limits)
    def ask(item):
        return limits.stats.in_flight

    @parallel_map(limits=limits)
    def tell(item):
        yield item
        yield item

    stream = tell(1)
    next(stream)
    assert ask(1) == 2  # beside the stream, and not on its slot
    assert list(stream) == [1]
    assert limits.stats.in_flight == 0


def test_two_readers_at_once_are_told_so_and_the_stream_goes_on():
    async def main():
        streams = Streams(Limits(1))
        stream = streams.awaited()(1)
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="being read already"):
            await anext(stream)
        assert await first == (1, 0)
        assert len([chunk async for chunk in stream]) == 2
        streams.rest()

    awaited("asyncio", main)


def test_a_cancelled_reader_ends_its_stream():
    async def main():
        streams = Streams(Limits(1))
        stream = streams.awaited()(1)
        await anext(stream)
        task = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert streams.closed == [1]
        streams.rest()

    awaited("asyncio", main)


def test_methods_partials_and_options():
    class Teller:
        @parallel_map(max_concurrency=2)
        def tell(self, item, times=2):
            for _ in range(times):
                yield item

        @classmethod
        @parallel_map
        def of_class(cls, item):
            yield cls.__name__, item

    teller = Teller()
    assert list(teller.tell(1)) == [1, 1]
    assert teller.tell.map([1, 2]) == [[1, 1], [2, 2]]
    assert Teller.tell.partial(teller, times=1).map([3]) == [[3]]
    assert list(teller.tell.with_options(timeout=5.0)(4)) == [4, 4]


def test_an_iterator_that_a_function_returns_is_a_result_unless_it_carries_its_response(tmp_path):
    path = tmp_path / "file"
    path.write_text("one\ntwo\n")
    limits = Limits(1)

    @parallel_map(limits=limits)
    def opened(item):
        return [path.open, lambda: iter([1]), lambda: map(str, [1])][item]()

    with opened(0) as file:
        assert list(file) == ["one\n", "two\n"]
    results = opened.map([0, 1, 2])
    results[0].close()
    assert list(results[1]) == [1]
    assert limits.stats.in_flight == 0


class Response:
    status_code = 200
    headers = ()


class ClientStream:
    """As the clients have it."""

    def __init__(self, item):
        self.response, self.closed, self._chunks = Response(), False, iter([item, item])

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._chunks)

    def close(self):
        self.closed = True


def test_an_object_that_carries_its_response_is_a_stream():
    limits, made = Limits(1), []

    @parallel_map(limits=limits)
    def tell(item):
        made.append(ClientStream(item))
        return made[-1]

    stream = tell(1)
    assert limits.stats.in_flight == 1
    assert stream.response is made[0].response  # what else it has is still there
    assert list(stream) == [1, 1]
    assert limits.stats.in_flight == 0
    with tell(2):
        pass
    assert made[1].closed
    assert limits.stats.in_flight == 0
    assert tell.map([1, 2]) == [[1, 1], [2, 2]]
    assert list(tell.stream([7])) == [(0, 7), (0, 7)]


@pytest.mark.parametrize("same", [True, False])
def test_what_another_decorated_function_yields_is_a_stream_too(same):
    """`nicely` asks `tell` in other words. The run is given the chunks, and not a stream that nobody has begun."""
    inner, outer = Limits(1), Limits(1)

    @parallel_map(limits=inner)
    def tell(many):
        yield from range(many)

    @parallel_map(limits=inner if same else outer)
    def nicely(many):
        return tell(many)

    assert nicely.map([1, 2]) == [[0], [0, 1]]
    assert list(nicely.stream([2])) == [(0, 0), (0, 1)]
    stream = nicely(2)
    assert nicely.stats.in_flight == 1
    assert list(stream) == [0, 1]
    assert (inner.stats.in_flight, outer.stats.in_flight) == (0, 0)


@both_loops
@pytest.mark.parametrize("same", [True, False])
def test_and_what_an_async_one_yields(loop, same):
    inner, outer = Limits(1), Limits(1)

    @parallel_map(limits=inner)
    async def tell(many):
        for number in range(many):
            yield number

    @parallel_map(limits=inner if same else outer)
    async def nicely(many):
        return tell(many)

    async def main():
        assert await nicely.amap([1, 2]) == [[0], [0, 1]]
        async with nicely.stream([2]) as chunks:
            assert [chunk async for chunk in chunks] == [(0, 0), (0, 1)]
        assert [chunk async for chunk in await nicely(2)] == [0, 1]
        assert (inner.stats.in_flight, outer.stats.in_flight) == (0, 0)

    awaited(loop, main)


def test_in_gather_and_blocks_a_stream_is_a_result_like_any_other():
    async def main():
        limits = Limits(2)

        async def stream():
            yield 1

        async def tell():
            return stream()

        (result,) = await gather_bounded(tell, limits=limits)
        assert limits.stats.in_flight == 0
        assert [chunk async for chunk in result] == [1]
        async with limits:
            result = stream()
        assert [chunk async for chunk in result] == [1]

    asyncio.run(main())


# Runs


@both_kinds
def test_runs_give_each_items_chunks_as_a_list(returns, tmp_path):
    with VirtualTime():
        streams = Streams(Limits(2))
        tell = streams.sync(returns=returns)
        expected = [streams.expected(n) for n in range(5)]
        assert tell.map(range(5)) == expected
        assert list(tell.imap(range(5))) == expected
        assert sorted(outcome.value for outcome in tell.as_completed(range(5))) == expected
        assert streams.most == 2
        streams.rest()
        streams.chunks = 0
        assert tell.map(range(3)) == [[], [], []]


@both_loops
@both_kinds
def test_async_runs_do_too(loop, returns):
    streams = Streams(Limits(2))
    tell = streams.awaited(returns=returns)

    async def main():
        expected = [streams.expected(n) for n in range(5)]
        assert await tell.amap(range(5)) == expected
        async with tell.imap(range(5)) as results:
            assert [result async for result in results] == expected

    awaited(loop, main)
    assert streams.most == 2
    streams.rest()


def test_blocking_runs_of_async_generators():
    limits = Limits(2)

    @parallel_map(limits=limits)
    async def tell(item):
        await asyncio.sleep(0)
        yield item

    assert tell.map(range(5)) == [[n] for n in range(5)]
    assert sorted(tell.stream(range(5))) == [(n, n) for n in range(5)]


def test_a_journal_keeps_the_lists(tmp_path):
    calls = []

    @parallel_map
    def tell(item):
        calls.append(item)
        yield from range(item)

    for _ in range(2):
        assert tell.map([1, 2], resume=tmp_path / "kept.jsonl") == [[0], [0, 1]]
    assert sorted(calls) == [1, 2]  # side by side, so that either may be the first to say so

    @parallel_map
    def bytewise(item):
        yield object()

    with pytest.raises(TypeError, match="not JSON-serializable"):
        bytewise.map([1], resume=tmp_path / "others.jsonl")


@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
def test_in_a_run_an_item_that_was_refused_before_its_first_chunk_is_sent_again_and_later_never(way):
    streams = Streams(Limits(2), retry=Retry(4, wait=0.5))
    early, late = ConnectionResetError("early"), ConnectionResetError("late")
    streams.fails = {1: [(0, refusal()), (0, early)], 2: [(1, late)], 3: [(1, refusal())]}
    if way == "sync":
        with VirtualTime():
            results = streams.sync().map(range(5), return_exceptions=True)
    else:

        async def main():
            return await streams.awaited().amap(range(5), return_exceptions=True)

        results = awaited(way, main)
    assert [results[n] for n in (0, 1, 4)] == [streams.expected(n) for n in (0, 1, 4)]
    assert results[2] is late
    assert isinstance(results[3], SimulatedAPIError)
    assert any("its stream had begun" in note for note in results[3].__notes__)
    assert sorted(streams.opened) == [0, 1, 1, 1, 2, 3, 4]
    streams.rest()


def test_what_an_item_sets_in_its_context_stays_there():
    variable = contextvars.ContextVar("variable", default=0)
    seen = []

    @parallel_map(max_concurrency=1)
    def tell(item):
        seen.append(variable.get())
        variable.set(item)
        yield variable.get()

    @parallel_map(max_concurrency=1)
    async def atell(item):
        seen.append(variable.get())
        variable.set(item)
        yield variable.get()

    assert tell.map([1, 2, 3]) == [[1], [2], [3]]
    assert asyncio.run(atell.amap([1, 2, 3])) == [[1], [2], [3]]
    assert seen == [0] * 6


class Incomparable:
    """As an array of numpy: what comparing says has no truth."""

    __hash__ = None

    def __eq__(self, other):
        raise ValueError("the truth value is ambiguous")


@both_loops
def test_an_item_may_set_what_cannot_be_compared(loop):
    variable = contextvars.ContextVar("variable")
    variable.set(Incomparable())

    @parallel_map(max_concurrency=1)
    async def tell(item):
        variable.set(Incomparable())
        yield item

    async def main():
        assert await tell.amap([1, 2, 3]) == [[1], [2], [3]]
        async with tell.stream([4, 5]) as chunks:
            assert [one async for one in chunks] == [(0, 4), (1, 5)]

    awaited(loop, main)


# Chunk by chunk


def test_chunks_come_as_they_are_read_in_order_within_an_item():
    with VirtualTime():
        streams = Streams(Limits(2))
        found = list(streams.sync().stream(range(5)))
        assert streams.most == 2
    for n in range(5):
        assert [chunk for index, chunk in found if index == n] == streams.expected(n)
    assert {index for index, _ in found[:2]} == {0, 1}  # side by side
    streams.rest()


@both_loops
@both_kinds
def test_so_they_do_with_async_for(loop, returns):
    streams = Streams(Limits(2))
    tell = streams.awaited(returns=returns)

    async def main():
        async with tell.stream(range(5)) as chunks:
            return [one async for one in chunks]

    found = awaited(loop, main)
    for n in range(5):
        assert [chunk for index, chunk in found if index == n] == streams.expected(n)
    assert streams.most == 2
    streams.rest()


def test_one_chunk_of_each_item_waits_for_its_reader():
    made = []

    @parallel_map(max_concurrency=2)
    async def tell(item):
        for place in range(100):
            made.append((item, place))
            yield place

    async def main():
        async with tell.stream(range(2)) as chunks:
            taken = 0
            async for _ in chunks:
                taken += 1
                await asyncio.sleep(0.01)
                assert len(made) <= taken + 2
                if taken == 50:
                    break

    asyncio.run(main())


@both_loops
def test_leaving_closes_every_stream(loop):
    streams = Streams(Limits(3), chunks=100)
    tell = streams.awaited()

    async def main():
        async with tell.stream(range(10)) as chunks:
            async for _, chunk in chunks:
                if chunk[1] == 1:
                    break
        assert streams.open == 0
        streams.rest()

    awaited(loop, main)
    assert sorted(streams.closed) == [0, 1, 2]


def test_leaving_closes_the_streams_of_threads_where_they_are_read():
    with VirtualTime():
        streams = Streams(Limits(3), chunks=100)
        with streams.sync().stream(range(10)) as chunks:
            for _, chunk in chunks:
                if chunk[1] == 1:
                    break
        sleep(5.0)
        streams.rest()


@pytest.mark.parametrize("where", ["the input", "progress"])
@pytest.mark.parametrize("many", [False, True])
def test_code_on_top_of_their_reader_gets_through_though_streams_have_every_slot(where, many):
    """They go on when their chunks are taken, by the thread on which that code runs."""
    account, answers = Limits(2), []

    @parallel_map(limits=account)
    def ask(item):
        return item

    @parallel_map(limits=account)
    def tell(item):
        yield item
        yield item

    def on_top(*_):
        if account.stats.in_flight == 2 and not answers:
            answers.extend(ask.map([7, 8]) if many else [ask(7)])

    def inputs():
        yield from range(2)
        sleep(1.0)
        if where == "the input":
            on_top()
        yield 2

    with VirtualTime():
        found = sorted(tell.stream(inputs(), progress=on_top if where == "progress" else None))
    assert found == [(item, item) for item in range(3) for _ in range(2)]
    assert answers == ([7, 8] if many else [7])
    stats = account.stats
    assert (stats.in_flight, stats.waiting) == (0, 0)


@both_loops
def test_a_failure_is_raised_in_its_turn_and_closes_the_others(loop):
    streams = Streams(Limits(2), chunks=5)
    streams.fails[1] = [(2, ValueError("simulated"))]
    tell = streams.awaited()
    found = []

    async def main():
        with pytest.raises(ValueError, match="simulated") as raised:
            async with tell.stream(range(6)) as chunks:
                async for one in chunks:
                    found.append(one)
        assert any(note == "fanmap: item 1 of stream" for note in raised.value.__notes__)
        assert partial_results(raised.value) == {}
        assert streams.open == 0

    awaited(loop, main)
    assert [chunk for index, chunk in found if index == 1] == [(1, 0), (1, 1)]
    assert max(streams.opened) <= 2
    streams.rest()


def test_with_return_exceptions_it_is_handed_out_in_its_turn():
    with VirtualTime():
        streams = Streams(Limits(2), chunks=3)
        failure = streams.fails[1] = [(2, ValueError("simulated"))]
        error = failure[0][1]
        found = list(streams.sync().stream(range(4), return_exceptions=True))
    assert [chunk for index, chunk in found if index == 1] == [(1, 0), (1, 1), error]
    for n in (0, 2, 3):
        assert [chunk for index, chunk in found if index == n] == streams.expected(n)
    streams.rest()


def test_a_function_that_gives_no_stream_is_told_so():
    @parallel_map
    def ask(item):
        return "text"

    with pytest.raises(TypeError, match="ask.stream needs a function that yields or returns a stream, got str"):
        list(ask.stream([1]))


def test_a_def_that_returns_an_async_stream_is_told_so():
    async def stream(item):
        yield item

    @parallel_map
    def tell(item):
        return stream(item)

    with pytest.raises(TypeError, match="decorate an `async def`"):
        tell.map([1])


def test_a_deadline_ends_a_run_of_streams():
    with VirtualTime():
        streams = Streams(Limits(2), chunks=100)
        found = streams.sync().map(range(3), deadline=2.5, return_exceptions=True)
        assert all(isinstance(one, BaseException) for one in found)
        sleep(200.0)
        assert streams.open == 0


@both_loops
def test_a_stream_that_a_deadline_cuts_off_ends_with_that(loop, tmp_path):
    async def slow_to_close():
        try:
            yield "a text"
            await pause(100)
        finally:
            await pause(10)  # the run has stopped, and waits for its input: the thread comes to its next chunk

    async def main():
        read, handed_out = Streams(Limits(2), chunks=100), Streams(Limits(2), chunks=100)
        drawn = tmp_path / "run.json"
        found = await read.sync().amap(slow_to_close(), deadline=2.5, return_exceptions=True, trace=drawn)
        assert [type(one) for one in found] == [DeadlineExceeded]
        events = json.loads(drawn.read_text(encoding="utf-8"))["traceEvents"]
        ends = [event["args"]["ended"] for event in events if event.get("cat") == "call"]
        assert ends == ["cut" if loop == "asyncio" else "under_way"]  # trio's clean-up is cancelled as well
        with pytest.raises(DeadlineExceeded):
            await read.sync().amap(slow_to_close(), deadline=2.5)
        results = handed_out.sync().stream(slow_to_close(), deadline=2.5, return_exceptions=True)
        async with results:
            chunks = [chunk async for _, chunk in results]
        assert [type(one) for one in chunks] == [tuple] * (len(chunks) - 1) + [DeadlineExceeded]
        await pause(1)  # a thread that nobody waits for
        for streams in read, handed_out:
            assert (streams.open, streams.limits.stats.in_flight) == (0, 0)

    awaited(loop, main)


def test_streams_in_the_background_wait_for_the_foreground():
    with VirtualTime() as virtual:
        streams, order = Streams(Limits(1), chunks=2), []
        tell = streams.sync()
        job = tell.with_options(limits=streams.limits.background)

        def read_with(function, item):
            order.append([index for index, _ in function(item)][-1])

        threads = [virtual.start(read_with, tell, 0)]
        sleep(0.5)
        threads += [virtual.start(read_with, job, 1), virtual.start(read_with, tell, 2)]
        for thread in threads:
            virtual.join(thread)
    assert order == [0, 2, 1]
    streams.rest()
