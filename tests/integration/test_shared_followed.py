"""`rpm="auto"` and `tpm="auto"` of several processes: what one is told of the server's limits is everybody's."""

from __future__ import annotations

import contextlib
import warnings

import anyio
import httpx
import pytest

from fanmap import Limits, parallel_map
from fanmap.testing import SimulatedStore, VirtualTime

from .test_followed_limits import Simulated, within


def processes(count, /, *args, store=None, **more):
    store = SimulatedStore() if store is None else store
    return [Limits(*args, shared=store, **more) for _ in range(count)]


def run(seconds, *runs, then=()):
    """Each function maps numbers under its Limits, together, for so long; `then` are (seconds, what to do)."""

    async def one(limits, function):
        with contextlib.suppress(TimeoutError, httpx.HTTPStatusError):
            await parallel_map(limits=limits)(function).amap(range(10**6), deadline=seconds)

    async def main():
        async with anyio.create_task_group() as tasks:
            for limits, function in runs:
                tasks.start_soon(one, limits, function)
            for at, act in then:
                tasks.start_soon(later, at, act)

    async def later(at, act):
        await anyio.sleep(at)
        act()

    with VirtualTime() as virtual:
        virtual.run(main())
    return virtual


@pytest.mark.whole
def test_the_limit_is_one_for_all_and_all_of_it_is_used():
    server = Simulated(rpm=3_000, latency=0.2)
    limits = processes(3, 64, rpm="auto")
    run(30.0, *[(one, server.function()) for one in limits])
    assert server.refused <= 0.01 * len(server.starts)
    assert within(server.starts, 10, 30) >= 0.9 * 20 * 50
    assert min(one.stats.started for one in limits) >= 0.9 * max(one.stats.started for one in limits)


def test_until_the_first_answer_one_call_of_all_processes_is_under_way():
    server = Simulated(rpm=6_000, latency=3.0)
    run(4.0, *[(one, server.function()) for one in processes(3, 16, rpm="auto")])
    assert within(server.starts, 0, 3) == 1
    assert within(server.starts, 3.0, 3.5) >= 14  # its ceiling is everybody's, and the limit is known


@pytest.mark.whole
def test_who_was_told_nothing_has_the_limit_of_those_who_were():
    server, began = Simulated(rpm=1_200, latency=0.1), []

    async def silent(number):
        from fanmap._drive import clock

        began.append(clock.now())
        await anyio.sleep(0.1)

    one, other = processes(2, 32, rpm="auto")
    run(20.0, (one, server.function()), (other, silent))
    starts = sorted([*server.starts, *began])
    assert within(starts, 5, 20) <= 15 * 20 + 25
    assert within(starts, 5, 20) >= 0.9 * 15 * 20
    assert within(began, 5, 20) >= 0.4 * within(starts, 5, 20)  # in turn


@pytest.mark.parametrize(("before", "after"), [(1_200, 6_000), (6_000, 1_200)])
@pytest.mark.whole
def test_a_change_that_one_hears_of_is_everybody_s_at_once(before, after):
    server, began = Simulated(rpm=before, latency=0.1), []

    async def silent(number):
        from fanmap._drive import clock

        began.append(clock.now())
        await anyio.sleep(0.1)

    one, other = processes(2, 32, rpm="auto")
    run(30.0, (one, server.function()), (other, silent), then=[(15.0, lambda: server.limit(rpm=after))])
    for begin, rpm in ((5, before), (19, after)):
        made = within(began, begin, begin + 10)
        assert 0.8 * 5 * rpm / 60 <= made <= 1.1 * 5 * rpm / 60  # half of it


@pytest.mark.whole
def test_tokens_are_followed_and_settled_over_all():
    server = Simulated(tpm=60_000, used=100)
    run(40.0, *[(one, server.function()) for one in processes(2, 32, tpm="auto")])
    assert server.refused <= 0.02 * len(server.starts)
    assert 100 * within(server.starts, 20, 40) <= 1.05 * 20_000
    assert 100 * within(server.starts, 20, 40) >= 0.85 * 20_000


def test_a_server_that_tells_no_limit_has_none_for_anybody_and_that_is_said_once():
    server = Simulated(latency=0.1)
    server.headers = {"x-other": "1"}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run(3.0, *[(one, server.function()) for one in processes(3, 16, rpm="auto")])
    assert len(server.starts) >= 0.9 * 16 * 28
    assert [str(one.message).partition("=")[0] for one in warned] == ["rpm"]


@pytest.mark.whole
def test_a_store_that_loses_its_memory_is_told_again():
    server, store = Simulated(rpm=1_200, latency=0.1), SimulatedStore()
    limits = processes(2, 16, store=store, rpm="auto")
    run(30.0, *[(one, server.function()) for one in limits], then=[(10.0, store.forget)])
    assert server.refused <= 0.01 * len(server.starts)
    assert max(within(server.starts, at, at + 1) for at in range(5, 29)) <= 20 + 1
    assert within(server.starts, 20, 30) >= 0.9 * 200


def test_dollars_that_are_only_counted_are_each_process_s_own_beside_it():
    server = Simulated(rpm=6_000, latency=0.1)
    one, other = processes(2, 8, rpm="auto", price=lambda model, usage: 0.5)
    run(3.0, (one, server.function()), (other, server.function()))
    assert one.stats.spent == pytest.approx(0.5 * one.stats.done)
    assert one.stats.done > 50 < other.stats.done


def test_who_follows_and_who_does_not_cannot_share():
    store = SimulatedStore()
    (one,), (other,) = processes(1, 4, store=store, rpm="auto"), processes(1, 4, store=store, rpm=500)

    async def ask(number):
        await anyio.sleep(0.1)

    async def main():
        with pytest.warns(UserWarning, match='rpm="auto"'):
            await parallel_map(limits=one)(ask).amap([1])
        with pytest.raises(ValueError, match="requests per 60 s; in another process requests as the server tells"):
            await parallel_map(limits=other)(ask).amap([1])

    with VirtualTime() as virtual:
        virtual.run(main())
