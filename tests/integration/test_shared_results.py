"""Threads, or tasks, that share one `imap` or `as_completed`: each result once, and all of them end."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
import trio

from fanmap import Outcome, parallel_map, partial_results
from fanmap.testing import VirtualTime, sleep

SEEDS = range(12)


def plain(result):
    return result.index if isinstance(result, Outcome) else result


def items(kind, count):
    """An input that workers index, and one that is stepped where the caller stands."""
    return range(count) if kind == "range" else iter(range(count))


def slowly(item):
    sleep(0.1 + 0.07 * (item % 5))
    return item


async def aslowly(item):
    await asyncio.sleep(0.1 + 0.07 * (item % 5))
    return item


async def tslowly(item):
    await trio.sleep(0.1 + 0.07 * (item % 5))
    return item


METHODS = ("imap", "as_completed")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", ["range", pytest.param("iterator", marks=pytest.mark.whole)])
@pytest.mark.parametrize("function", [slowly, aslowly], ids=["def", "async def"])
def test_threads_that_share_it(method, source, function):
    for seed in SEEDS:
        with VirtualTime(seed=seed) as virtual:
            results = getattr(parallel_map(max_concurrency=4)(function), method)(items(source, 30))
            got = [[] for _ in range(3)]

            def read(mine, results=results):
                for result in results:
                    mine.append(plain(result))
                    sleep(0.03)

            readers = [virtual.start(read, mine) for mine in got]
            for reader in readers:
                virtual.join(reader)
            assert sorted(itertools.chain(*got)) == list(range(30))
            assert partial_results(results) == {}
            if method == "imap":
                assert all(mine == sorted(mine) for mine in got)
            with pytest.raises(StopIteration):
                next(results)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", [pytest.param("range", marks=pytest.mark.whole), "iterator", "async"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_tasks_that_share_it(method, source, loop):
    pause = asyncio.sleep if loop == "asyncio" else trio.sleep

    async def numbers():
        for number in range(30):
            yield number

    async def read(results, mine):
        async for result in results:
            mine.append(plain(result))
            await pause(0.03)

    async def main():
        function = aslowly if loop == "asyncio" else tslowly
        given = numbers() if source == "async" else items(source, 30)
        got = [[] for _ in range(3)]
        async with getattr(parallel_map(max_concurrency=4)(function), method)(given) as results:
            if loop == "asyncio":
                await asyncio.gather(*[read(results, mine) for mine in got])
            else:
                async with trio.open_nursery() as nursery:
                    for mine in got:
                        nursery.start_soon(read, results, mine)
        assert sorted(itertools.chain(*got)) == list(range(30))
        if method == "imap":
            assert all(mine == sorted(mine) for mine in got)

    for seed in SEEDS:
        with VirtualTime(seed=seed) as virtual:
            virtual.run(main()) if loop == "asyncio" else virtual.run_trio(main)


def test_a_failure_reaches_one_of_them_and_the_others_end():
    def fails(item):
        sleep(0.1)
        if item == 12:
            raise LookupError("no")
        return item

    for seed in SEEDS:
        with VirtualTime(seed=seed) as virtual:
            results = parallel_map(max_concurrency=4)(fails).imap(range(30))
            got, raised = [], []

            def read(results=results, got=got, raised=raised):
                try:
                    for result in results:
                        got.append(result)
                        sleep(0.03)
                except LookupError as error:
                    raised.append(error)

            readers = [virtual.start(read) for _ in range(3)]
            for reader in readers:
                virtual.join(reader)
            assert sorted(got) == list(range(12))
            assert len(raised) == 1


@pytest.mark.parametrize("how", ["stop", "close"])
@pytest.mark.parametrize("method", METHODS)
def test_all_end_when_another_thread_stops_or_closes_it(how, method):
    for seed in SEEDS:
        with VirtualTime(seed=seed) as virtual:
            results = getattr(parallel_map(max_concurrency=2)(slowly), method)(range(1000))
            got = []

            def read(results=results, got=got):
                for result in results:
                    got.append(plain(result))

            readers = [virtual.start(read) for _ in range(3)]
            virtual.sleep(2)
            getattr(results, how)()
            for reader in readers:
                virtual.join(reader)
            assert len(got) == len(set(got))
            assert 5 < len(got) < 100


@pytest.mark.parametrize("who", range(3))
def test_a_task_that_is_cancelled_while_it_waits_ends_the_run_for_all(who):
    """Be it inside or in line; as it does where it is the only one. What had finished is with its exception."""

    async def main():
        kept = {}
        async with parallel_map(max_concurrency=1)(aslowly).imap(range(10)) as results:
            got = []

            async def read():
                try:
                    async for result in results:
                        got.append(result)
                except asyncio.CancelledError as error:
                    kept.update(partial_results(error))
                    raise

            readers = [asyncio.create_task(read()) for _ in range(3)]
            await asyncio.sleep(0.5)
            readers[who].cancel()
            done = await asyncio.gather(*readers, return_exceptions=True)
            assert [type(one) for one in done].count(asyncio.CancelledError) == 1
            assert done.count(None) == 2
        assert [*got, *kept] == list(range(len(got) + len(kept)))
        assert len(got) < 10

    for seed in SEEDS:
        with VirtualTime(seed=seed) as virtual:
            virtual.run(main())


def test_a_progress_callback_is_told_whoever_reads():
    with VirtualTime(seed=1) as virtual:
        told = []
        results = parallel_map(max_concurrency=4)(slowly).imap(range(30), progress=lambda s: told.append(s.done))
        got = []

        def read():
            for result in results:
                got.append(result)

        for reader in [virtual.start(read) for _ in range(3)]:
            virtual.join(reader)
        assert sorted(got) == list(range(30))
        assert told[-1] == 30


@pytest.mark.parametrize("method", METHODS)
def test_real_threads_that_share_it(method):
    results = getattr(parallel_map(max_concurrency=4)(lambda item: item), method)(range(3000))
    got = []

    def read():
        for result in results:
            got.append(plain(result))

    readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert not any(reader.is_alive() for reader in readers)
    assert sorted(got) == list(range(3000))
