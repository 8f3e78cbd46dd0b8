"""An item that fails in several ways at once: what its group says counts for everybody, in threads, asyncio and trio."""

from __future__ import annotations

import asyncio

import anyio
import pytest
import trio

from fanmap import Limits, NotRun, Retry, Verdict, parallel_map, partial_results
from fanmap._drive import clock
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep


def refused(wait=None, status=429, **said):
    return SimulatedAPIError("no", status, {} if wait is None else {"retry-after": str(wait)}, said)


def spent():
    return refused(status=402)


class Server:
    """Item 0 fails with what `failing` makes, so many times; each call takes 0.1 s."""

    def __init__(self, failing, times=1):
        self._failing, self._times = failing, times
        self.starts = []
        self.calls_of_0 = 0

    def _arrive(self, item):
        self.starts.append((clock.now(), item))
        if item == 0:
            self.calls_of_0 += 1
            if self.calls_of_0 <= self._times:
                return self._failing()
        return None

    def __call__(self, item):
        error = self._arrive(item)
        sleep(0.1)
        if error is not None:
            raise error
        return item

    async def acall(self, item):
        error = self._arrive(item)
        await anyio.sleep(0.1)
        if error is not None:
            raise error
        return item

    def starts_within(self, begin, end):
        return [item for when, item in self.starts if begin < when < end]


def by_threads(virtual, server, **run):
    return parallel_map(server.__call__, **run.pop("options")).map(range(12), **run)


def by_background_loop(virtual, server, **run):
    return parallel_map(server.acall, **run.pop("options")).map(range(12), **run)


def by_asyncio(virtual, server, **run):
    return virtual.run(parallel_map(server.acall, **run.pop("options")).amap(range(12), **run))


def by_trio(virtual, server, **run):
    async def main():
        return await parallel_map(server.acall, **run.pop("options")).amap(range(12), **run)

    return virtual.run_trio(main)


RUNS = {"threads": by_threads, "asyncio": by_asyncio, "trio": by_trio, "background loop": by_background_loop}


@pytest.fixture(params=RUNS.values(), ids=RUNS)
def run_by(request):
    return request.param


def test_the_longest_wait_of_its_group_is_everybodys(run_by):
    server = Server(lambda: ExceptionGroup("both", [refused(1), refused(5), refused()]))
    with VirtualTime() as virtual:
        results = run_by(virtual, server, options={"max_concurrency": 2}, return_exceptions=True)
    assert server.starts_within(0.101, 5.1) == []
    assert results[1:] == list(range(1, 12))


def test_it_is_not_sent_again_unasked(run_by):
    """Its other calls may have been answered, and were paid for."""
    server = Server(lambda: ExceptionGroup("both", [refused(1), refused(2)]))
    with VirtualTime() as virtual:
        results = run_by(virtual, server, options={"max_concurrency": 2}, return_exceptions=True)
    assert server.calls_of_0 == 1
    assert isinstance(results[0], ExceptionGroup)


def test_one_that_a_repeat_cannot_mend_is_not_repeated_and_holds_everybody_all_the_same(run_by):
    server = Server(lambda: ExceptionGroup("both", [refused(3), ValueError("a bug")]), times=9)
    with VirtualTime() as virtual:
        results = run_by(virtual, server, options={"max_concurrency": 2, "retry": Retry()}, return_exceptions=True)
    assert server.calls_of_0 == 1
    assert server.starts_within(0.101, 3.1) == []
    assert results[1:] == list(range(1, 12))


def test_a_group_of_one_is_that_one(run_by):
    server = Server(lambda: ExceptionGroup("one", [ExceptionGroup("inside", [refused(2)])]), times=2)
    with VirtualTime() as virtual:
        assert run_by(virtual, server, options={"max_concurrency": 2}) == list(range(12))
    assert server.calls_of_0 == 3


def test_a_spent_account_in_it_stops_the_run(run_by):
    server = Server(lambda: ExceptionGroup("both", [ValueError("no"), spent()]))
    with VirtualTime() as virtual:
        results = run_by(virtual, server, options={"max_concurrency": 2}, return_exceptions=True)
    # Item 1 ends in the same moment, and item 2 may have begun by then.
    assert [type(result) for result in results[3:]] == [NotRun] * 9
    assert isinstance(results[0], ExceptionGroup)
    assert all(result.__cause__ is results[0] for result in results[3:])


def test_a_wait_beyond_max_wait_in_it_stops_the_run(run_by):
    server = Server(lambda: ExceptionGroup("both", [ValueError("no"), refused(100)]))
    with VirtualTime() as virtual:
        options = {"limits": Limits(2, max_wait=50)}
        results = run_by(virtual, server, options=options, return_exceptions=True)
        assert virtual.now() < 1
    assert [type(result) for result in results[3:]] == [NotRun] * 9


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("return_exceptions", [False, True])
def test_ctrl_c_in_it_stops_the_run_with_what_had_finished(run_by, interrupt, return_exceptions):
    group = BaseExceptionGroup("both", [ValueError("no"), BaseExceptionGroup("inside", [interrupt()])])
    server = Server(lambda: group)
    with VirtualTime() as virtual, pytest.raises(BaseExceptionGroup) as caught:
        run_by(virtual, server, options={"max_concurrency": 2}, return_exceptions=return_exceptions)
    assert caught.value is group
    assert len(server.starts) <= 3
    assert set(partial_results(group)) <= {1, 2}


def test_a_cancellation_beside_it_takes_no_wait_away(run_by):
    group = BaseExceptionGroup("both", [asyncio.CancelledError(), refused(5)])
    server = Server(lambda: group)
    with VirtualTime() as virtual:
        results = run_by(virtual, server, options={"max_concurrency": 2}, return_exceptions=True)
    assert results[0] is group
    assert server.starts_within(0.101, 5.1) == []
    assert results[1:] == list(range(1, 12))


def test_ctrl_c_out_of_a_nursery_of_trio_stops_the_run():
    called = []

    async def presses():
        await trio.sleep(0)
        raise KeyboardInterrupt

    @parallel_map(max_concurrency=1)
    async def ask(item):
        called.append(item)
        if item == 1:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(presses)
                nursery.start_soon(trio.sleep_forever)
        return item

    async def main():
        with pytest.raises(BaseExceptionGroup) as caught:
            await ask.amap(range(50), return_exceptions=True)
        assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
        assert partial_results(caught.value) == {0: 0}

    trio.run(main)
    assert called == [0, 1]


def test_a_task_group_inside_an_item():
    """Two calls inside an item are refused with a wait, and nobody may start within it."""
    starts = []

    async def sub(item, times=[]):  # noqa: B006
        starts.append(clock.now())
        await asyncio.sleep(0.01)
        if item == 0 and len(times) < 2:
            times.append(item)
            raise refused(1)

    @parallel_map(max_concurrency=2)
    async def ask(item):
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(sub(item))
        return item

    with VirtualTime() as virtual:
        results = virtual.run(ask.amap(range(8), return_exceptions=True))
    assert results[1:] == list(range(1, 8))
    assert [start for start in starts if 0.0101 < start < 1.01] == []


def test_the_users_own_reading_of_a_group_counts(run_by):
    server = Server(lambda: ExceptionGroup("both", [refused(1), ValueError("mine")]), times=2)
    seen = []

    def classify(error):
        seen.append(type(error))
        return Verdict("rate", 4.0) if isinstance(error, ExceptionGroup) else None

    with VirtualTime() as virtual:
        assert run_by(virtual, server, options={"limits": Limits(2, classify=classify)}) == list(range(12))
    assert server.calls_of_0 == 3
    assert seen == [ExceptionGroup, ExceptionGroup]
