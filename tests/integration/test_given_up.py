"""What was paid for when a loop over results is given up: `with` keeps it, and the results themselves do."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import gc
import pickle
import threading

import anyio
import pytest
import trio

from fanmap import BridgeError, gather_bounded, parallel_map, partial_results, to_async, to_sync
from fanmap.testing import VirtualTime


class GivenUp(Exception):
    """What the body of a loop raises."""


REASONS = [GivenUp, KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit]


async def echo(item):
    return item * 10


def begun(lazy_way, count=20):
    asking = lazy_way.decorate(echo, max_concurrency=4)
    return lazy_way.start(asking, range(count))


def handed(lazy_way, result):
    return result.index if lazy_way.method == "as_completed" else result // 10


def left_of(items, count=20):
    return {item: item * 10 for item in range(count) if item not in items}


@pytest.mark.parametrize("reason", REASONS)
def test_what_leaves_the_block_has_what_was_not_handed_out(lazy_way, reason):
    async def main():
        taken = []
        results = begun(lazy_way)
        try:
            async with lazy_way.opened(results):
                for _ in range(3):
                    taken.append(handed(lazy_way, await lazy_way.next(results)))
                await lazy_way.until(lambda: results.stats.done == 20)
                raise reason
        except reason as error:
            assert partial_results(error) == left_of(taken)
        else:
            raise AssertionError("it was swallowed")
        assert partial_results(results) == left_of(taken)

    lazy_way.go(main)


def test_the_results_themselves_have_it_while_they_are_under_way_and_when_they_are_closed(lazy_way):
    async def main():
        results = begun(lazy_way)
        assert partial_results(results) == {}
        async with lazy_way.opened(results):
            taken = [handed(lazy_way, await lazy_way.next(results)) for _ in range(3)]
            await lazy_way.until(lambda: results.stats.done == 20)
            assert partial_results(results) == left_of(taken)
            assert partial_results(results) == left_of(taken)  # a look takes nothing
            taken.append(handed(lazy_way, await lazy_way.next(results)))
        assert partial_results(results) == left_of(taken)

    lazy_way.go(main)


def test_results_that_were_all_handed_out_have_nothing_left(lazy_way):
    async def main():
        results = begun(lazy_way)
        async with lazy_way.opened(results):
            assert len([result async for result in lazy_way.each(results)]) == 20
        assert partial_results(results) == {}

    lazy_way.go(main)


def test_a_loop_without_a_block_that_is_left_by_ctrl_c():
    results = parallel_map(max_concurrency=4)(lambda item: item * 10).imap(range(20))
    taken = []
    with pytest.raises(KeyboardInterrupt) as caught:
        for result in results:
            taken.append(result // 10)
            if len(taken) == 3:
                while results.stats.done < 20:
                    threading.Event().wait(0.001)
                raise KeyboardInterrupt
    assert partial_results(caught.value) == {}
    assert partial_results(results) == left_of(taken)


def test_a_timeout_around_the_block_has_it_too():
    @parallel_map(max_concurrency=4)
    async def ask(item):
        return item * 10

    async def main():
        async with asyncio.timeout(0.05):
            async with ask.imap(range(20)) as results:
                async for _ in results:
                    await asyncio.sleep(100)

    with VirtualTime() as virtual, pytest.raises(TimeoutError) as caught:
        virtual.run(main())
    assert partial_results(caught.value) == left_of([0])


def test_a_cancel_scope_of_trio_around_the_block():
    @parallel_map(max_concurrency=4)
    async def ask(item):
        return item * 10

    async def main():
        kept = []
        with trio.move_on_after(0.05):
            async with ask.imap(range(20)) as results:
                try:
                    async for _ in results:
                        await trio.sleep(100)
                finally:
                    kept.append(partial_results(results))
        assert kept == [left_of([0])]
        assert partial_results(results) == left_of([0])

    with VirtualTime() as virtual:
        virtual.run_trio(main)


def test_after_a_failure_it_is_the_failures_and_the_results_have_the_same():
    def fails(item):
        if item == 3:
            raise ValueError("no")
        return item * 10

    results = parallel_map(max_concurrency=1)(fails).as_completed(range(6))
    assert [outcome.index for outcome in results] == list(range(6))
    results = parallel_map(max_concurrency=4)(fails).imap(range(4))
    with pytest.raises(ValueError, match="no") as caught, results:
        assert next(results) == 0
        while results.stats.done < 4:
            threading.Event().wait(0.001)
        list(results)
    assert partial_results(caught.value) == partial_results(results)


def test_an_exception_that_came_after_the_end_keeps_what_an_inner_run_left_on_it():
    ask = parallel_map(max_concurrency=1)(lambda item: 1 // item)
    with pytest.raises(ZeroDivisionError) as caught, ask.imap([1, 1]) as results:
        assert list(results) == [1, 1]
        ask.map([1, 0])
    assert partial_results(caught.value) == {0: 1}


def test_while_the_outer_is_under_way_it_is_the_outers():
    ask = parallel_map(max_concurrency=1)(lambda item: 1 // item)
    with pytest.raises(ZeroDivisionError) as caught, ask.imap([1, 1, 1]) as results:
        next(results)
        while results.stats.done < 3:
            threading.Event().wait(0.001)
        ask.map([1, 0])
    assert partial_results(caught.value) == {1: 1, 2: 1}


def test_what_is_neither_an_exception_nor_results_is_a_type_error():
    with pytest.raises(TypeError, match="source must be an exception, or what imap or as_completed returned, got list"):
        partial_results([1])  # type: ignore[arg-type]


# A sync `close` of results that are read with `async for`


class Input:
    """A generator that says when it was closed."""

    def __init__(self, fails=False):
        self.closed, self._fails = 0, fails

    def __call__(self, count=1000):
        try:
            yield from range(count)
        finally:
            self.closed += 1
            if self._fails:
                raise GivenUp("on being closed")


@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_sync_close_of_results_begun_with_anext_closes_their_input(kind, method):
    ask = parallel_map(max_concurrency=2)(echo if kind == "async def" else lambda item: item * 10)
    source = Input()

    async def main():
        results = getattr(ask, method)(source())
        await anext(results)
        assert source.closed == 0
        results.close()
        assert source.closed == 1
        results.close()
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        await results.aclose()
        assert isinstance(partial_results(results), dict)

    asyncio.run(main())
    gc.collect()
    assert source.closed == 1


def test_a_sync_close_of_results_begun_with_anext_raises_what_the_input_raises():
    ask, source = parallel_map(max_concurrency=2)(echo), Input(fails=True)

    async def main():
        results = ask.imap(source())
        await anext(results)
        with pytest.raises(GivenUp):
            results.close()

    asyncio.run(main())


def test_a_sync_close_after_the_loop_has_ended():
    ask, source = parallel_map(max_concurrency=2)(echo), Input()
    kept = []

    async def main():
        results = ask.imap(source())
        kept.append(results)
        await anext(results)

    asyncio.run(main())
    kept[0].close()
    assert source.closed == 1


def test_a_block_of_the_other_kind_closes_it_as_well():
    ask, source = parallel_map(max_concurrency=2)(echo), Input()

    async def main():
        results = ask.imap(source())
        await anext(results)
        with contextlib.closing(results):
            await anext(results)

    asyncio.run(main())
    assert source.closed == 1


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_results_are_not_copied_because_the_copy_would_stop_them(duplicate):
    results = parallel_map(max_concurrency=2)(lambda item: item * 10).imap(range(20))
    next(results)
    with pytest.raises(TypeError, match=r"imap is a run in progress and cannot be copied or pickled"):
        duplicate(results)
    gc.collect()
    assert len(list(results)) == 19


@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_an_async_close_of_results_begun_with_next_closes_their_input(kind, method):
    ask = parallel_map(max_concurrency=2)(echo if kind == "async def" else lambda item: item * 10)
    source = Input()
    results = getattr(ask, method)(source())
    next(results)

    async def main():
        async with contextlib.aclosing(results):
            pass
        assert source.closed == 1
        await results.aclose()

    asyncio.run(main())
    assert list(results) == []


@pytest.mark.parametrize("method", ["imap", "as_completed"])
def test_a_cleanup_of_every_task_leaves_none_behind(method):
    """Each worker that is cancelled in its item ends; none of them hires another, which the clean-up has not seen."""

    async def hangs(item):
        try:
            await asyncio.sleep(1000 if item else 0)
        finally:
            for _ in range(5 * item):  # one after the other
                await asyncio.sleep(0)

    kept, loops = [], []

    async def main():
        loops.append(asyncio.get_running_loop())
        kept.append(getattr(parallel_map(max_concurrency=3)(hangs), method)(range(20), return_exceptions=True))
        await anext(kept[0])
        while kept[0].stats.in_flight < 3:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert [task for task in asyncio.all_tasks(loops[0]) if not task.done()] == []
    kept[0].close()


@pytest.mark.parametrize("method", ["imap", "as_completed"])
def test_closing_in_another_loop_cancels_in_the_first_and_does_not_wait_for_it(method):
    async def hangs(item):
        if item:
            await asyncio.sleep(1000)

    async def close(results):
        await results.aclose()

    async def main():
        results = getattr(parallel_map(max_concurrency=2)(hangs), method)(range(3))
        await anext(results)
        while not results.stats.in_flight:
            await asyncio.sleep(0)
        # With no timer in that loop, which would wake it too.
        closing = threading.Thread(target=asyncio.run, args=(close(results),), daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, 120)
        assert not closing.is_alive()
        while results.stats.in_flight:
            await asyncio.sleep(0)

    asyncio.run(main())


def ends(run):
    """In a thread of its own, which a hang leaves behind."""
    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(120)
    return not running.is_alive()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("where", ["an item", "a task of an item", "the input"])
def test_an_item_and_the_input_close_their_own_results_and_do_not_wait_for_themselves(backend, method, where):
    kept, handed_out, after = [], [], []

    @parallel_map(max_concurrency=2)
    async def closes(item):
        if item == 3 and where == "an item":
            await kept[0].aclose()
        elif item == 3 and where == "a task of an item":
            async with anyio.create_task_group() as group:
                group.start_soon(kept[0].aclose)
        return item

    async def inputs():
        for item in range(10):
            if item == 3 and where == "the input":
                await kept[0].aclose()
            yield item

    async def main():
        kept.append(getattr(closes, method)(inputs() if where == "the input" else range(10)))
        async with kept[0]:
            handed_out.extend([result async for result in kept[0]])
        while kept[0].stats.in_flight:
            await anyio.sleep(0)
        after.extend(await closes.amap(range(4, 8)))

    assert ends(lambda: anyio.run(main, backend=backend))
    assert len(handed_out) < 10
    assert after == [4, 5, 6, 7]


def test_so_does_an_item_on_the_background_loop():
    kept = []

    @parallel_map(max_concurrency=2)
    async def closes(item):
        await asyncio.sleep(0)
        if item == 3:
            kept[0].close()
        return item

    def read():
        kept.append(closes.imap(range(10)))
        with kept[0]:
            list(kept[0])

    assert ends(read)
    assert closes.map(range(4, 8)) == [4, 5, 6, 7]


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("way", ["next", "close", "leave"])
@pytest.mark.parametrize("where", ["map", "to_sync"])
def test_other_code_on_the_background_loop_does_not_wait_for_what_runs_there(where, way, lazily):
    """It would block the loop on which the calls of these results are: for good, and for every other call there."""
    told = []

    @parallel_map(max_concurrency=2)
    async def ask(item):
        await asyncio.sleep(0.001)
        return item

    def read():
        results = ask.imap(iter(range(10**6)) if lazily else range(10**6))
        assert next(results) == 0

        async def blocks(_):
            if way == "close":
                results.close()
            elif way == "leave":
                with pytest.raises(KeyError), results:
                    raise KeyError
            else:
                with pytest.raises(BridgeError, match=r"ask.imap runs on the background loop, .* `await to_async"):
                    list(results)
                told.append(await to_async(next)(results))
            return "over"

        told.append(parallel_map(blocks).map([0])[0] if where == "map" else to_sync(blocks)(0))
        results.close()
        assert repr(results) == "<results of ask.imap: over>"
        assert ask.map([1, 2]) == [1, 2]

    assert ends(read)
    assert told[-1:] == ["over"]
    assert way != "next" or told[0] in range(1, 10**6)


@pytest.mark.parametrize("progress", [None, lambda stats: None])
def test_what_has_ended_is_read_on_the_background_loop_to_its_end(progress):
    ended = threading.Semaphore(0)

    @parallel_map(max_concurrency=3)
    async def ask(item):
        asyncio.current_task().add_done_callback(lambda _: ended.release())
        return item

    def read():
        results = ask.imap(range(3), progress=progress)
        assert next(results) == 0
        for _ in range(3):
            assert ended.acquire(timeout=300)

        async def rest():
            await asyncio.sleep(0)  # whoever runs on this loop has said that they have gone
            return list(results)

        assert to_sync(rest)() == [1, 2]

    assert ends(read)


ITSELF = "is read in a call of its own, or in its input, and would wait for itself: read it outside"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("where", ["an item", "a task of an item", "the input"])
def test_an_item_and_the_input_do_not_wait_for_their_own_results(backend, method, where):
    kept, told = [], []

    async def read():
        with pytest.raises(RuntimeError, match=ITSELF):
            await anext(kept[0])
        told.append(True)

    @parallel_map(max_concurrency=2)
    async def reads(item):
        if item == 3 and where == "an item":
            await read()
        elif item == 3 and where == "a task of an item":
            async with anyio.create_task_group() as group:
                group.start_soon(read)
        return item

    async def inputs():
        for item in range(10):
            if item == 3 and where == "the input":
                await read()
            yield item

    async def main():
        kept.append(getattr(reads, method)(inputs() if where == "the input" else range(10)))
        async with kept[0]:
            assert len([result async for result in kept[0]]) == 10

    assert ends(lambda: anyio.run(main, backend=backend))
    assert told == [True]
    assert not reads.stats.in_flight


@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_nor_does_an_item_that_a_blocking_run_waits_for(kind, method):
    kept, taken, told, read_by = [], [], [], []

    def reads(item):
        if item == 3:
            with pytest.raises(RuntimeError, match=ITSELF):
                while True:
                    taken.append(next(kept[0]))  # what is there already
            told.append(True)
        return item

    async def areads(item):
        return reads(item)

    ask = parallel_map(max_concurrency=2)(reads if kind == "def" else areads)

    def read():
        kept.append(getattr(ask, method)(range(10)))
        read_by.extend(kept[0])

    assert ends(read)
    assert told == [True]
    assert len(taken) + len(read_by) == 10


@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("source", ["generator", "iterator"])
def test_nor_does_a_sync_input(source, kind, method):
    """What is found on a page is asked for in turn: it would be stepped within its own step."""
    kept, told = [], []

    async def same(item):
        return item

    ask = parallel_map(max_concurrency=2)(same if kind == "async def" else lambda item: item)

    def inputs():
        yield 0
        with pytest.raises(RuntimeError, match=ITSELF):
            next(kept[0])
        told.append(True)
        yield 1

    class Iterating:
        def __init__(self):
            self.inputs = inputs()

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.inputs)

    def read():
        kept.append(getattr(ask, method)(inputs() if source == "generator" else Iterating()))
        assert len(list(kept[0])) == 2
        told.append(True)

    assert ends(read)
    assert told == [True, True]


@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_generator_that_closes_the_results_of_its_own_run_is_closed_itself(kind, method):
    kept, told = [], []

    async def same(item):
        return item

    ask = parallel_map(max_concurrency=2)(same if kind == "async def" else lambda item: item)

    def inputs():
        try:
            for item in range(10):
                if item == 3:
                    kept[0].close()
                    told.append("went on")
                yield item
        finally:
            told.append("closed")

    def read():
        source = inputs()
        kept.append(getattr(ask, method)(source))
        list(kept[0])
        told.append("read")

    assert ends(read)
    assert told == ["went on", "closed", "read"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_is_closed_though_the_results_are_closed_in_another_thread_while_it_is_stepped(fails):
    stepping, closed, told = threading.Event(), threading.Event(), []

    @parallel_map(max_concurrency=2)
    async def ask(item):
        return item

    def inputs():
        try:
            yield 0
            stepping.set()
            assert closed.wait(60)
            yield 1
            told.append("went on")
        finally:
            told.append("closed")
            if fails:
                raise OSError("the file")

    source = inputs()

    async def main():
        results = ask.imap(source)

        def close():
            assert stepping.wait(60)
            results.close()
            closed.set()

        closing = threading.Thread(target=close)
        closing.start()
        try:
            async for _ in results:
                pass
        finally:
            told.append("read")
            closing.join()

    if fails:
        with pytest.raises(OSError, match="the file"):
            asyncio.run(main())
    else:
        asyncio.run(main())
    assert told == ["closed", "read"]


@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_results_are_not_waited_for_in_another_loop_than_their_own(kind, method):
    """Nothing would ever wake who waits there; where they were begun they go on."""
    go = threading.Event()

    def blocking(item):
        assert go.wait(200)
        return item

    async def awaiting(item):
        await asyncio.to_thread(go.wait, 200)
        return item

    ask, source = parallel_map(max_concurrency=2)(awaiting if kind == "async def" else blocking), Input()
    kept = []

    async def elsewhere():
        with pytest.raises(RuntimeError, match="was started in another event loop: read it there, or close it"):
            await anext(kept[0])

    async def main():
        kept.append(getattr(ask, method)(source(8)))
        first = asyncio.create_task(anext(kept[0]))
        while not kept[0].stats.in_flight:
            await asyncio.sleep(0)
        await asyncio.to_thread(asyncio.run, elsewhere())
        go.set()
        await first
        assert len([result async for result in kept[0]]) == 7
        kept[0] = getattr(ask, method)(source(8))
        await anext(kept[0])

    async def close():
        await kept[0].aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(kept[0])

    asyncio.run(main())
    go.clear()
    asyncio.run(elsewhere() if kind == "def" else close())
    asyncio.run(close())
    go.set()
    assert source.closed == 2


@pytest.mark.parametrize("way", ["amap", "imap", "gather_bounded"])
def test_a_cancel_scope_of_anyio_leaves_items_the_time_for_their_cleanup(way):
    """As web frameworks have one around each request: it cancels anew in every turn of the loop."""
    cleaned = []

    async def item(number):
        try:
            await asyncio.sleep(3600)
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            cleaned.append(number)

    ask = parallel_map(max_concurrency=3)(item)

    async def waits():
        if way == "amap":
            await ask.amap(range(9))
        elif way == "imap":
            async for _ in ask.imap(range(9)):
                pass
        else:
            await gather_bounded(*[item(number) for number in range(3)])

    async def main():
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(waits)
                for _ in range(20):
                    await asyncio.sleep(0)
                scope.cancel()
        assert sorted(cleaned) == [0, 1, 2]
        assert asyncio.current_task().cancelling() == 0
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await waits()
        assert sorted(cleaned) == [0, 0, 1, 1, 2, 2]
        assert asyncio.current_task().cancelling() == 0
        await anyio.sleep(0)

    asyncio.run(main())


def test_within_a_cancel_scope_of_anyio_a_cancellation_of_asyncios_own_is_passed_on():
    """The second one does what it does without a scope: it cuts the clean-up short."""
    cleaned, cleaning = [], []

    @parallel_map
    async def ask(number):
        try:
            await asyncio.sleep(3600)
        finally:
            cleaning.append(number)
            await asyncio.sleep(3600)
            cleaned.append(number)

    async def main():
        async def waits():
            with anyio.CancelScope() as scope:
                asyncio.get_running_loop().call_soon(scope.cancel)
                await ask.amap([0])

        waiting = asyncio.create_task(waits())
        while not cleaning:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert (cleaning, cleaned) == ([0], [])


@pytest.mark.filterwarnings("ignore:.*blocks the event loop")
@pytest.mark.parametrize("way", ["to_sync", "map"])
def test_a_blocking_run_on_the_background_loop_does_not_wait_for_items_that_wait_for_that_loop(way):
    kept = []

    @parallel_map
    async def fetch(number):
        return number

    @parallel_map(max_concurrency=2)
    def ask(number):
        kept.append(contextvars.copy_context())
        return to_sync(fetch)(number) if way == "to_sync" else fetch.map([number])[0]

    async def here():
        with pytest.raises(BridgeError, match=r"fetch.* is blocked until this call returns: .* `await function\.amap"):
            ask.map(range(4))
        return await ask.amap(range(4))

    def read():
        assert to_sync(here)() == [0, 1, 2, 3]
        assert kept[0].run(ask.map, range(4)) == [0, 1, 2, 3]  # that run is over

    assert ends(read)
