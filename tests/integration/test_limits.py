"""One budget for everything that talks to one account: shared, lent, never deadlocked, and braked by refusals."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import math
import threading
import time
from types import SimpleNamespace

import aiolimiter
import pytest
import tenacity
import trio

from fanmap import (
    Adaptive,
    BridgeError,
    BudgetExceeded,
    Limits,
    NotRun,
    Rate,
    Retry,
    gather_bounded,
    parallel_map,
    partial_results,
    to_async,
    to_sync,
)
from fanmap._drive.calls.scope import current_scope
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep

pytestmark = pytest.mark.usefixtures("nothing_left")
PATIENCE = 120.0
both_loops = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])


def run_on(run, main):
    return trio.run(main) if run is trio.run else asyncio.run(main())


def in_threads(*jobs):
    """Run every job in a thread of its own, all at once; raises what any of them raised."""
    errors = []

    def guarded(job):
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


def until_free(account):
    """A release waits for nobody: where another thread has the books at that moment, that one enters it."""
    end = time.monotonic() + PATIENCE
    while (account.stats.in_flight or account.stats.waiting) and time.monotonic() < end:
        time.sleep(0.001)
    assert account.stats.in_flight == account.stats.waiting == 0


async def pause(seconds=0.001):
    await (trio.sleep(seconds) if trio.lowlevel.in_trio_run() else asyncio.sleep(seconds))


# What it says of itself


class Counts:
    def __init__(self, secret):
        self.secret = secret

    def __call__(self, *args):
        return 1.0


def counted(*args):
    return 1.0


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, "Limits(max_concurrency=8)"),
        ({"tpm": 200_000}, "Limits(max_concurrency=8, tpm=200000)"),
        ({"max_concurrency": "auto", "rpm": 500}, "Limits(max_concurrency='auto', rpm=500)"),
        ({"rate": Rate(20)}, "Limits(max_concurrency=8, rate=Rate(20))"),
        (
            {"rate": iter([Rate(20, 1.0, burst=5), Rate(9, cost=counted, usage=Counts("secret"))])},
            "Limits(max_concurrency=8, rate=[Rate(20, 1.0, burst=5), Rate(9, cost=counted, usage=Counts)])",
        ),
        ({"rate": aiolimiter.AsyncLimiter(10, 1)}, "Limits(max_concurrency=8, rate=AsyncLimiter(10, 1))"),
        (
            {"max_wait": 60, "classify": functools.partial(counted, "secret")},
            "Limits(max_concurrency=8, max_wait=60, classify=partial)",
        ),
        ({"max_concurrency": Adaptive(4)}, "Limits(max_concurrency=Adaptive(start=4, minimum=1, maximum=256))"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_repr_shows_the_settings_that_were_given_and_no_address(settings, shown):
    assert repr(Limits(**settings)) == shown
    ask = parallel_map(limits=Limits(max_concurrency=2, tpm=10))(counted)
    assert repr(ask) == "<parallel counted under Limits(max_concurrency=2, tpm=10)>"


# One budget


def test_everything_under_one_limits_shares_its_slots_over_threads_and_loops(meter):
    account = Limits(3)

    @parallel_map(limits=account)
    def ask(x):
        with meter:
            time.sleep(0.001)
        return x

    @parallel_map(limits=account)
    async def aask(x):
        with meter:
            await pause()
        return x

    def direct():
        for x in range(10):
            assert ask(x) == x

    async def adirect():
        for x in range(10):
            assert await aask(x) == x

    def blocks():
        for _ in range(10):
            with account, meter:
                time.sleep(0.001)

    async def ablocks():
        for _ in range(10):
            async with account:
                with meter:
                    await pause()

    async def gathered():
        assert await gather_bounded(*[aask(x) for x in range(10)], limits=account) == list(range(10))

    in_threads(
        lambda: ask.map(range(10)),
        lambda: aask.map(range(10)),
        lambda: asyncio.run(aask.amap(range(10))),
        lambda: asyncio.run(ask.amap(range(10))),
        lambda: trio.run(aask.amap, range(10)),
        lambda: list(ask.imap(iter(range(10)))),
        lambda: list(aask.as_completed(range(10))),
        direct,
        lambda: asyncio.run(adirect()),
        lambda: trio.run(adirect),
        blocks,
        lambda: asyncio.run(ablocks()),
        lambda: trio.run(ablocks),
        lambda: asyncio.run(gathered()),
        lambda: trio.run(gathered),
        lambda: to_sync(aask)(1),
        lambda: asyncio.run(to_async(ask)(1)),
    )
    assert meter.entered == 152
    assert meter.most <= 3
    assert (account.stats.in_flight, account.stats.waiting) == (0, 0)


def test_everything_under_one_limits_shares_its_rate():
    account = Limits(50, rate=Rate(20, 0.1, burst=1))
    starts = []

    def mark():
        starts.append(virtual.now())

    @parallel_map(limits=account)
    def ask(x):
        mark()

    @parallel_map(limits=account)
    async def aask(x):
        mark()

    def blocks():
        for _ in range(10):
            with account:
                mark()

    with VirtualTime() as virtual:
        threads = [
            virtual.start(lambda: ask.map(range(10))),
            virtual.start(lambda: virtual.run(aask.amap(range(10)))),
            virtual.start(lambda: virtual.run_trio(aask.amap, range(10))),
            virtual.start(blocks),
        ]
        for thread in threads:
            virtual.join(thread)
    assert starts == pytest.approx([number * 0.005 for number in range(40)])


def test_a_function_has_limits_of_its_own_where_it_is_given_none(meter):
    one, other = (parallel_map(max_concurrency=2)(lambda x, together=together: together.wait(PATIENCE)) for together in
                  [threading.Barrier(4)] * 2)  # fmt: skip
    in_threads(lambda: one.map([1, 2]), lambda: other.map([1, 2]))


@both_loops
def test_a_block_is_left_however_it_ends(run):
    account = Limits(1)
    with pytest.raises(KeyError), account:
        raise KeyError

    async def main():
        with pytest.raises(KeyError):
            async with account:
                raise KeyError
        async with account:
            pass

    run_on(run, main)
    with account:
        with account:  # inside itself, on its own slot
            pass
        assert account.stats.in_flight == 1
    assert account.stats.in_flight == 0


def chain(scope):
    return 0 if scope is None else 1 + chain(scope.outer)


def test_a_block_may_be_left_in_another_context_and_another_task():
    """As an async fixture is set up in one task and torn down in another."""
    account = Limits(1)

    async def fixture():
        async with account:
            yield account.stats.in_flight

    async def main(error):
        for _ in range(3):
            generator = fixture()
            assert await asyncio.create_task(anext(generator)) == 1
            if error is None:
                await asyncio.create_task(generator.aclose())
            else:
                with pytest.raises(KeyError):
                    await asyncio.create_task(generator.athrow(error))
            assert account.stats.in_flight == 0

    asyncio.run(main(None))
    asyncio.run(main(KeyError()))
    assert account.stats.done == 6


def test_a_block_may_be_left_in_another_task_on_trio():
    account = Limits(1)

    async def fixture():
        async with account:
            yield

    async def main():
        generator = fixture()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, generator)
        assert account.stats.in_flight == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(generator.aclose)
        assert account.stats.in_flight == 0

    trio.run(main)


def test_each_block_gives_back_its_own_slot_wherever_it_is_left():
    """As a framework runs both halves of a `def` dependency in threads, each in a copy of the request's context."""
    account = Limits(2)
    ask = parallel_map(limits=account)(lambda: account.stats.in_flight)

    def dependency():
        with account:
            yield

    def request():
        generator, here = dependency(), contextvars.copy_context()
        in_threads(lambda: here.run(next, generator))
        return generator, here

    (one, in_one), (two, in_two) = request(), request()
    assert account.stats.in_flight == 2
    in_threads(one.close)
    assert account.stats.in_flight == 1
    assert in_two.run(ask) == 1, "it runs on the slot of the block around it"
    assert in_one.run(ask) == 2, "the block around it is over: it has a slot of its own"
    in_threads(two.close)
    assert account.stats.in_flight == 0


def test_a_block_around_one_that_is_left_elsewhere_stays_open():
    account = Limits(2)
    ask = parallel_map(limits=account)(lambda: account.stats.in_flight)

    def dependency():
        with account:
            yield

    with account:
        generator = dependency()
        contextvars.Context().run(next, generator)
        assert account.stats.in_flight == 2
        generator.close()  # here, where the innermost block is the outer one
        assert account.stats.in_flight == 1
        assert ask() == 1
    assert account.stats.in_flight == 0


def test_an_exit_stack_gives_back_as_many_slots_as_it_took_in_any_context():
    account = Limits(4)
    stack = contextlib.ExitStack()
    contextvars.Context().run(lambda: [stack.enter_context(account) for _ in range(3)])
    with account:
        assert account.stats.in_flight == 2  # two of the three run on the slot of the first
        stack.close()
        assert account.stats.in_flight == 1
    assert account.stats.in_flight == 0

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            await asyncio.create_task(stack.enter_async_context(account))
            await stack.enter_async_context(account)
            assert account.stats.in_flight == 2
        assert account.stats.in_flight == 0

    asyncio.run(main())
    with pytest.raises(RuntimeError, match="^a Limits cannot be exited more often than it was entered$"):
        account.__exit__(None, None, None)


def test_a_context_that_enters_blocks_which_others_leave_does_not_grow():
    account = Limits(1)

    def dependency():
        with account:
            yield

    here = contextvars.copy_context()
    for _ in range(50):
        generator = dependency()
        here.run(next, generator)
        generator.close()
        assert account.stats.in_flight == 0
    assert len(here.run(account._blocks.get)) == chain(here.run(current_scope.get)) == 1


@both_loops
def test_a_call_inside_a_block_runs_on_the_blocks_slot(run):
    account = Limits(1)

    @parallel_map(limits=account)
    async def aask(x):
        return x

    @parallel_map(limits=account)
    def ask(x):
        return x

    async def main():
        async with account:
            return await aask(1), await aask.amap([2, 3]), ask(4), ask.map([5, 6])

    assert run_on(run, main) == (1, [2, 3], 4, [5, 6])
    with account:
        assert ask(1) == 1
        assert ask.map([1, 2]) == [1, 2]
        assert aask.map([1, 2]) == [1, 2]


def test_a_cancelled_wait_for_a_slot_gives_its_place_up():
    account = Limits(1)

    @parallel_map(limits=account)
    async def aask(x):
        return x

    async def main():
        async with account:
            waiting = [asyncio.create_task(aask(x), context=__import__("contextvars").Context()) for x in range(5)]
            await asyncio.sleep(0.001)
            for task in waiting[::2]:
                task.cancel()
            await asyncio.sleep(0)
            assert account.stats.waiting == 2
        return await asyncio.gather(*waiting, return_exceptions=True)

    found = asyncio.run(main())
    assert [type(one) for one in found] == [asyncio.CancelledError, int] * 2 + [asyncio.CancelledError]
    assert (account.stats.in_flight, account.stats.waiting) == (0, 0)


def test_a_loop_that_dies_with_calls_in_line_blocks_nobody():
    account = Limits(1)

    @parallel_map(limits=account)
    async def aask(x):
        return x

    async def main():
        task = asyncio.create_task(aask(1))
        await asyncio.sleep(0.001)
        assert account.stats.waiting == 1
        return task  # asyncio.run cancels it

    with account:
        in_threads(lambda: asyncio.run(main()))
        assert account.stats.waiting == 0
    assert parallel_map(limits=account)(len).map(["a"]) == [1]


# Nested calls


@pytest.mark.parametrize("most", [1, 2])
def test_recursion_under_one_limits_does_not_deadlock(most):
    account = Limits(most)

    @parallel_map(limits=account)
    def down(n):
        return 0 if n == 0 else 1 + down(n - 1)

    @parallel_map(limits=account)
    def down_by_map(n):
        return 0 if n == 0 else 1 + down_by_map.map([n - 1])[0]

    @parallel_map(limits=account)
    async def adown(n):
        return 0 if n == 0 else 1 + await adown(n - 1)

    @parallel_map(limits=account)
    async def adown_by_map(n):
        return 0 if n == 0 else 1 + (await adown_by_map.amap([n - 1]))[0]

    @parallel_map(limits=account)
    def both(n):
        return 0 if n == 0 else 1 + aboth.map([n - 1])[0]

    @parallel_map(limits=account)
    async def aboth(n):
        return 0 if n == 0 else 1 + (await both.amap([n - 1]))[0]

    assert down(50) == 50
    assert down.map([50, 20]) == [50, 20]
    assert down_by_map(50) == 50
    for run in (asyncio.run, trio.run):
        for function, depth in ((adown, 50), (adown_by_map, 50)):
            assert run_on(run, functools.partial(function, depth)) == depth
            assert run_on(run, functools.partial(function.amap, [depth, 9, 3])) == [depth, 9, 3]
    assert adown.map([50, 20]) == [50, 20]
    assert adown_by_map.map([50, 20]) == [50, 20]
    assert both.map([12, 3]) == [12, 3]
    assert account.stats.in_flight == account.stats.waiting == 0


@pytest.mark.parametrize("most", [1, pytest.param(3, marks=pytest.mark.whole)])
def test_fifty_nested_maps_under_one_limits_do_not_deadlock(most, meter):
    account = Limits(most)

    @parallel_map(limits=account)
    def ask(x):
        with meter:
            return x * 2

    @parallel_map(limits=account)
    async def aask(x):
        with meter:
            await pause(0)
            return x * 2

    @parallel_map(limits=account)
    def outer(n):
        return sum(ask.map(range(n)))

    @parallel_map(limits=account)
    async def aouter(n):
        return sum(await aask.amap(range(n)))

    @parallel_map(limits=account)
    def mixed(n):
        return sum(aask.map(range(n)))

    @parallel_map(limits=account)
    async def amixed(n):
        return sum(await ask.amap(range(n)))

    @parallel_map(limits=account)
    async def gathering(n):
        return sum(await asyncio.gather(*map(aask, range(n))))

    @parallel_map(limits=account)
    async def lazily(n):
        async with aask.imap(range(n)) as results:
            return sum([x async for x in results])

    expected = [n * (n - 1) for n in range(50)]
    assert outer.map(range(50)) == expected
    assert mixed.map(range(50)) == expected
    assert aouter.map(range(50)) == expected
    assert amixed.map(range(50)) == expected
    for run in (asyncio.run, trio.run):
        for function in (aouter, amixed, outer, mixed, lazily) + ((gathering,) if run is asyncio.run else ()):
            assert run_on(run, functools.partial(function.amap, range(50))) == expected
    assert meter.most <= most
    assert account.stats.in_flight == account.stats.waiting == 0


def test_nested_maps_under_a_rate_do_not_deadlock_and_every_call_is_charged():
    account = Limits(2, rate=Rate(3000, 1, burst=3000))

    @parallel_map(limits=account)
    def ask(x):
        return x

    @parallel_map(limits=account)
    def outer(n):
        return sum(ask.map(range(n)))

    assert outer.map(range(20)) == [n * (n - 1) // 2 for n in range(20)]
    assert account.stats.started == 20 + 190


def test_a_failure_deep_inside_frees_every_slot():
    account = Limits(1)

    @parallel_map(limits=account)
    def down(n):
        if n == 0:
            raise KeyError("deep")
        return down.map([n - 1])

    with pytest.raises(KeyError, match="deep") as raised:
        down(20)
    assert raised.value.__notes__ == ["fanmap: item 0 of down"]
    until_free(account)


def test_a_call_that_outlives_its_parent_keeps_the_slot():
    """A task that an item started and did not wait for still counts."""
    account = Limits(1)
    left = []

    @parallel_map(limits=account)
    async def child(gate):
        await gate.wait()
        return "child"

    @parallel_map(limits=account)
    async def parent(gate):
        left.append(asyncio.create_task(child(gate)))
        await asyncio.sleep(0.001)
        return "parent"

    async def main():
        gate = asyncio.Event()
        assert await parent(gate) == "parent"
        assert account.stats.in_flight == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                async with account:
                    raise AssertionError
        gate.set()
        assert await left[0] == "child"
        assert account.stats.in_flight == 0

    asyncio.run(main())


# gather_bounded


@both_loops
def test_the_call_inside_an_awaitable_takes_over_its_slot_and_its_charge(run, meter):
    account = Limits(2, rate=Rate(6, 1e6, burst=6))

    @parallel_map(limits=account)
    async def aask(x):
        with meter:
            await pause()
        return x

    async def main():
        return await gather_bounded(*[aask(x) for x in range(6)], limits=account)

    assert run_on(run, main) == list(range(6))  # six charges, not twelve: else it would take days
    assert meter.most <= 2
    assert account.stats.in_flight == 0


@both_loops
def test_awaitables_under_a_limits_whose_rate_has_a_cost_are_gathered(run):
    account = Limits(2, rate=Rate(1000, 0.01, burst=1000, cost=lambda prompt: len(prompt)))

    @parallel_map(limits=account)
    async def aask(prompt):
        return prompt

    async def main():
        return await gather_bounded(*[aask("x" * n) for n in (1, 5, 9)], limits=account)

    assert run_on(run, main) == ["x", "xxxxx", "xxxxxxxxx"]


@both_loops
def test_gathered_functions_are_repeated_as_the_retry_says(run):
    calls = []

    async def flaky():
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return "at last"

    async def main():
        return await gather_bounded(flaky, retry=Retry(3, wait=0))

    assert run_on(run, main) == ["at last"]


@both_loops
def test_a_refused_awaitable_fails_with_what_to_write_and_a_refused_function_is_sent_again(run):
    calls = []

    async def refused_once():
        calls.append(1)
        if len(calls) == 1:
            raise SimulatedAPIError("slow down", 429, {"retry-after-ms": "1"}, {})
        return "at last"

    async def main(*entries):
        return await gather_bounded(*entries)

    with pytest.raises(SimulatedAPIError) as refusal:
        run_on(run, functools.partial(main, refused_once()))
    first, second = refusal.value.__notes__
    assert "an awaitable cannot be sent again" in first
    assert "give gather_bounded functions" in first
    assert second == "fanmap: item 0 of gather_bounded"
    calls.clear()
    assert run_on(run, functools.partial(main, refused_once)) == ["at last"]


def test_a_task_among_the_gathered_has_ended_before_the_failure_leaves():
    ended = []

    async def slow():
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.002)
            ended.append(1)

    async def fails():
        raise KeyError

    async def main():
        tasks = [asyncio.create_task(slow()) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(KeyError):
            await gather_bounded(*tasks[:1], fails(), *tasks[1:], max_concurrency=2)
        assert all(task.done() for task in tasks)
        assert len(ended) == 3

    asyncio.run(main())


# The bridge, instead of a deadlock


def test_blocking_on_the_background_loop_says_what_to_write():
    async def ask(x):
        return x

    ask = parallel_map(ask)

    @parallel_map
    async def wrong_map(x):
        return ask.map([x])

    @parallel_map
    async def wrong_imap(x):
        return list(ask.imap([x]))

    @parallel_map
    async def wrong_call(x):
        return to_sync(ask)(x)

    with pytest.raises(BridgeError, match=r"write `await ask.amap\(...\)`"):
        wrong_map.map([1])
    with pytest.raises(BridgeError, match="ask runs on the background loop"):
        wrong_imap.map([1])
    with pytest.raises(BridgeError, match=r"write `await ask\(...\)`"):
        wrong_call.map([1])
    with pytest.raises(BridgeError):
        to_sync(wrong_call)(1)


@pytest.mark.parametrize("blocked", ["call", "map", "imap", "async map", "to_sync", "block"])
@both_loops
def test_blocking_a_loop_that_holds_every_slot_says_what_to_write(run, blocked):
    account, line = Limits(2), "`async with`, or" if blocked == "block" else "`await "

    @parallel_map(limits=account)
    def ask(x):
        return x

    @parallel_map(limits=account)
    async def aask(x):
        await pause(0.001)
        return x

    def block():
        if blocked == "call":
            return ask(1)
        if blocked == "map":
            return ask.map([1])
        if blocked == "imap":
            return list(ask.imap([1]))
        if blocked == "async map":
            return aask.map([1])
        if blocked == "to_sync":
            return to_sync(aask)(1)
        with account:
            return None

    async def hold(gate):
        async with account:
            await gate.wait()

    async def main():
        gate = asyncio.Event() if run is asyncio.run else trio.Event()
        if run is asyncio.run:
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(hold(gate))
                while account.stats.in_flight < 2:
                    await pause(0.001)
                with pytest.raises(
                    BridgeError, match=f"holds every slot it waits for, or the rest of a total: write {line}"
                ):
                    block()
                gate.set()
        else:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(hold, gate)
                while account.stats.in_flight < 2:
                    await pause(0.001)
                with pytest.raises(
                    BridgeError, match=f"holds every slot it waits for, or the rest of a total: write {line}"
                ):
                    block()
                gate.set()
        return block()

    run_on(run, main)
    until_free(account)


@pytest.mark.filterwarnings("ignore:a blocking run")
@pytest.mark.parametrize("blocked", ["direct", "map", "imap", "async map", "to_sync", "block"])
def test_blocking_a_loop_whose_calls_have_the_rest_of_a_total_is_a_bridge_error(blocked):
    """They may settle for less, but only when that loop goes on."""
    account = Limits(4, rate=Rate(2, per=math.inf))

    @parallel_map(limits=account)
    def ask(x):
        return x

    @parallel_map(limits=account)
    async def aask(x):
        return x

    def enter():
        with account:
            pass

    block = {
        "direct": lambda: ask(1),
        "map": lambda: ask.map([1]),
        "imap": lambda: list(ask.imap([1])),
        "async map": lambda: aask.map([1]),
        "to_sync": lambda: to_sync(aask)(1),
        "block": enter,
    }[blocked]

    async def hold(gate):
        async with account:
            await gate.wait()

    async def main():
        gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(hold(gate))
            while account.stats.in_flight < 2:
                await asyncio.sleep(0)
            with pytest.raises(BridgeError, match="the rest of a total: write"):
                block()
            gate.set()
        with pytest.raises(BudgetExceeded):
            block()

    asyncio.run(main())
    until_free(account)


def test_blocking_a_loop_waits_where_another_thread_will_free_a_slot():
    account = Limits(1)
    held, free = threading.Event(), threading.Event()

    @parallel_map(limits=account)
    def ask(x):
        return x

    def hold():
        with account:
            held.set()
            free.wait(PATIENCE)

    async def main():
        held.wait(PATIENCE)
        threading.Timer(0.01, free.set).start()
        return ask(1), ask.map([2])

    found = []
    in_threads(hold, lambda: found.append(asyncio.run(main())))
    assert found == [(1, [2])]


# Refusals


def refusal(wait=None, status=429, **headers):
    if wait is not None:
        headers["retry-after-ms"] = str(wait * 1000)
    error = Refused("refused")
    error.status_code = status
    error.response = SimpleNamespace(status_code=status, headers=headers)
    return error


class Refused(Exception):
    pass


def test_after_a_refusal_with_a_wait_nothing_starts_within_it_and_nothing_is_lost(whole_way):
    starts, refused_at = [], []
    wait = 0.1

    async def ask(x):
        starts.append(virtual.now())
        await whole_way.pause(0.001)
        if x == 2 and not refused_at:
            refused_at.append(virtual.now())
            raise refusal(wait)
        return x

    with whole_way.virtually() as virtual:
        function = whole_way.decorate(ask, max_concurrency=4)
        assert whole_way.run(function, range(12)) == list(range(12))
    assert len(starts) == 13
    until = refused_at[0] + wait
    assert [start for start in starts if refused_at[0] < start < until - 1e-6] == []


def test_a_refused_call_counts_no_attempt_and_is_repeated_unasked():
    refusals = [refusal(0.01) for _ in range(3)]

    @parallel_map(max_concurrency=2)
    def ask(x):
        try:
            error = refusals.pop()  # one atomic step: three are refused, whoever is preempted
        except IndexError:
            return x
        raise error

    with ask.as_completed([1, 2]) as results:
        outcomes = sorted(results, key=lambda outcome: outcome.index)
        assert [(outcome.value, outcome.attempts) for outcome in outcomes] == [(1, 1), (2, 1)]
        assert results.stats.refused == 3
        assert results.stats.attempts == 2


def test_direct_calls_and_blocks_keep_to_the_gate_too():
    account = Limits(4)
    refusals = []

    @parallel_map(limits=account)
    def ask(x):
        if not refusals:
            refusals.append(virtual.now())
            raise refusal(0.05)
        return virtual.now()

    @parallel_map(limits=account)
    async def aask(x):
        return virtual.now()

    async def ablock():
        async with account:
            return virtual.now()

    started = []
    with VirtualTime() as virtual:
        first = virtual.start(lambda: started.append(ask(1)))
        virtual.sleep(0.002)
        assert refusals == [0.0]
        others = [
            virtual.start(lambda: started.append(ask(1))),
            virtual.start(lambda: started.append(virtual.run(aask(1)))),
            virtual.start(lambda: started.append(virtual.run_trio(ablock))),
            virtual.start(lambda: started.extend(ask.map([1]))),
        ]
        for thread in (first, *others):
            virtual.join(thread)
    assert len(started) == 5
    assert min(started) >= 0.05


def test_a_refusal_out_of_a_block_holds_everybody():
    account = Limits(4)
    with pytest.raises(Refused), account:
        before = time.monotonic()
        raise refusal(0.05)
    with account:
        assert time.monotonic() >= before + 0.05


def test_retry_false_sends_nothing_twice(strict_way):
    calls = []

    async def ask(x):
        calls.append(x)
        raise refusal(0.01)

    with pytest.raises(Refused):
        strict_way.run(strict_way.decorate(ask, retry=False, max_concurrency=1), range(3))
    assert calls == [0]


def test_a_failure_that_may_have_done_something_is_not_repeated_unasked(strict_way):
    calls = []

    async def ask(x):
        calls.append(x)
        raise refusal(status=500)

    with pytest.raises(Refused):
        strict_way.run(strict_way.decorate(ask, max_concurrency=1), range(3))
    assert calls == [0]


def test_a_wait_beyond_max_wait_stops_the_run(way, gates):
    calls = []

    async def ask(x):
        calls.append(x)
        if x == 1:
            raise refusal(1000)
        return x

    account = Limits(1, max_wait=5)
    found = way.run(way.decorate(ask, limits=account), range(10), return_exceptions=True)
    assert found[0] == 0
    assert type(found[1]) is Refused
    assert {type(one) for one in found[2:]} == {NotRun}
    assert all(one.__cause__ is found[1] for one in found[2:])
    assert len(found) == 10
    assert calls == [0, 1]


@pytest.mark.parametrize("keep", [False, True], ids=["raise", "return_exceptions"])
def test_a_spent_account_stops_the_run_at_once(way, meter, keep):
    async def ask(x):
        with meter:
            await way.pause(0.001)
            raise refusal(status=402)

    ask = way.decorate(ask, max_concurrency=4)
    if keep or not way.fails_fast:
        found = way.run(ask, range(20), return_exceptions=True)
        assert len(found) == 20
        assert {type(one) for one in found} == {Refused, NotRun}
    else:
        with pytest.raises(Refused):
            way.run(ask, range(20))
    assert meter.entered <= 4


def test_what_runs_when_the_account_is_spent_ends_but_is_not_waited_for_past_a_deadline():
    @parallel_map(max_concurrency=2)
    def ask(x):
        sleep(1000 if x == 0 else 0.01)
        raise refusal(status=402)

    with VirtualTime() as virtual:
        found = ask.map(range(5), return_exceptions=True, deadline=0.05)
        assert virtual.now() == 0.05
    assert type(found[1]) is Refused
    assert len(found) == 5


def test_results_of_a_spent_account_may_be_left_while_calls_still_run(gates):
    held = gates()

    @parallel_map(max_concurrency=2)
    def ask(x):
        if x == 0:
            while not held.is_open():
                time.sleep(0.001)
        raise refusal(status=402)

    with ask.as_completed(range(5)) as results:
        assert next(results).index == 1
    assert not held.is_open()


# Retry


def test_results_that_are_not_wanted_are_asked_for_again(way):
    calls = []

    async def ask(x):
        calls.append(x)
        return "bad" if calls.count(x) < 3 else x

    retry = Retry(3, on=tenacity.retry_if_result(lambda answer: answer == "bad"), wait=tenacity.wait_fixed(0))
    assert way.run(way.decorate(ask, retry=retry, max_concurrency=2), range(3)) == [0, 1, 2]
    assert sorted(calls) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_when_attempts_run_out_on_a_result_it_is_tenacitys_retry_error(way):
    async def ask(x):
        return "bad"

    retry = Retry(2, on=tenacity.retry_if_result(lambda answer: answer == "bad"), wait=0)
    (found,) = way.run(way.decorate(ask, retry=retry), [1], return_exceptions=True)
    assert type(found) is tenacity.RetryError
    assert found.last_attempt.result() == "bad"
    assert found.last_attempt.attempt_number == 2


def test_failures_are_repeated_as_the_strategies_say(way):
    calls = []

    async def ask(x):
        calls.append(x)
        if x == 1:
            raise KeyError("never again")
        if calls.count(x) < 3:
            raise ValueError("again")
        return x

    retry = Retry(
        5, on=tenacity.retry_if_exception_type(ValueError) | tenacity.retry_if_result(lambda answer: answer is None),
        wait=tenacity.wait_fixed(0) + tenacity.wait_none(), stop=tenacity.stop_after_attempt(4),
    )  # fmt: skip
    found = way.run(way.decorate(ask, retry=retry, max_concurrency=2), range(3), return_exceptions=True)
    assert (found[0], found[2]) == (0, 2)
    assert type(found[1]) is KeyError
    assert [calls.count(x) for x in range(3)] == [3, 1, 3]


def test_attempts_and_total_time_bound_the_repeats(way):
    calls = []

    async def ask(x):
        calls.append(x)
        raise ConnectionError

    def attempts(retry):
        calls.clear()
        found = way.run(way.decorate(ask, retry=retry), [1], return_exceptions=True)
        assert type(found[0]) is ConnectionError
        return len(calls)

    assert attempts(Retry(3, wait=0)) == 3
    assert attempts(Retry(1)) == 1
    assert attempts(Retry(50, wait=0, stop=tenacity.stop_after_attempt(2))) == 2
    assert attempts(Retry(50, wait=10, total=1)) == 1
    assert attempts(Retry(50, on=(ValueError, KeyError), wait=0)) == 1


def test_fatal_failures_stay_fatal_whatever_the_strategy_says():
    calls = []

    @parallel_map(retry=Retry(5, on=tenacity.retry_always, wait=0))
    def ask(x):
        calls.append(x)
        raise refusal(status=401)

    with pytest.raises(Refused):
        ask(1)
    assert calls == [1]


def test_no_cancellation_is_ever_repeated():
    calls = []

    @parallel_map(retry=Retry(5, on=tenacity.retry_always, wait=0), max_concurrency=1)
    async def ask(x):
        calls.append(x)
        raise asyncio.CancelledError

    assert [type(one) for one in ask.map([1, 2], return_exceptions=True)] == [asyncio.CancelledError] * 2
    assert calls == [1, 2]


def test_direct_calls_repeat_too():
    calls = []

    @parallel_map(retry=Retry(3, wait=0))
    def ask(x):
        calls.append(x)
        if len(calls) % 3:
            raise ConnectionError
        return x

    @parallel_map(retry=Retry(3, wait=0))
    async def aask(x):
        return ask.__wrapped__(x)

    assert ask(1) == asyncio.run(aask(1)) == trio.run(aask, 1) == 1
    assert len(calls) == 9


def test_a_strategy_that_raises_is_heard_and_hangs_nothing(strict_way):
    def on(state):
        raise ZeroDivisionError

    async def ask(x):
        raise ConnectionError

    with pytest.raises(ZeroDivisionError):
        strict_way.run(strict_way.decorate(ask, retry=Retry(3, on=on), max_concurrency=2), range(5))


def test_one_retry_may_be_shared_by_everything():
    """Of two tasks that share one tenacity object, one gave up early: ours keeps no state."""
    retry = Retry(3, on=tenacity.retry_if_exception_type(ValueError), wait=tenacity.wait_fixed(0))
    calls = {}
    lock = threading.Lock()

    @parallel_map(retry=retry, max_concurrency=8)
    def ask(x):
        with lock:
            calls[x] = calls.get(x, 0) + 1
        if calls[x] < 3:
            raise ValueError
        return x

    assert ask.map(range(50)) == list(range(50))
    assert set(calls.values()) == {3}


def test_a_cancelled_back_off_leaves_nothing_in_the_callers_context():
    from fanmap._drive.calls.scope import current_scope

    @parallel_map(retry=Retry(3, wait=10))
    async def ask():
        raise ConnectionError

    async def main():
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.002):
                    await ask()
            assert current_scope.get() is None

    asyncio.run(main())


# AsyncLimiter


def test_an_async_limiter_holds_asyncio_back_and_is_refused_elsewhere_with_what_to_write():
    def limited(**options):
        limiter = aiolimiter.AsyncLimiter(2, 0.05)

        @parallel_map(rate=limiter, **options)
        async def aask(x):
            return asyncio.get_running_loop().time()

        @parallel_map(rate=limiter, **options)
        def ask(x):
            raise AssertionError

        return aask, ask, limiter

    with VirtualTime() as virtual:
        aask, _, _ = limited()
        assert virtual.run(aask.amap(range(4))) == pytest.approx([0, 0, 0.025, 0.05], abs=1e-3)
    aask, ask, limiter = limited(max_concurrency=2)
    for misuse in (
        lambda: ask(1),
        lambda: ask.map([1]),
        lambda: list(ask.imap([1])),
        lambda: asyncio.run(ask.amap([1])),
        lambda: trio.run(aask, 1),
        lambda: trio.run(aask.amap, [1]),
        lambda: Limits(rate=limiter).__enter__(),
    ):
        with pytest.raises(TypeError, match=r"write Rate\(2, 0.05\)"):
            misuse()

    async def block():
        async with Limits(rate=limiter):
            pass

    with pytest.raises(TypeError, match=r"write Rate\(2, 0.05\)"):
        trio.run(block)


def test_an_async_limiter_works_on_the_background_loop_and_in_a_gather():
    @parallel_map(rate=[aiolimiter.AsyncLimiter(100, 1), Rate(1000, 0.1, burst=100)])
    async def aask(x):
        return x

    assert aask.map(range(5)) == list(range(5))

    async def main():
        limiter = aiolimiter.AsyncLimiter(100, 1)
        return await gather_bounded(*[asyncio.sleep(0, x) for x in range(5)], rate=limiter)

    assert asyncio.run(main()) == list(range(5))


def waits_for_a_limiter(retry=None, **decides):
    """A call each second, eight at once: seven wait for the limiter of the user's, while one is called."""
    began: list[tuple[float, int]] = []

    @parallel_map(max_concurrency=8, rate=aiolimiter.AsyncLimiter(1, 1), retry=retry)
    async def aask(item):
        began.append((asyncio.get_running_loop().time(), item))
        await asyncio.sleep(0.1)
        if len(began) == 2 and "error" in decides:
            raise decides["error"]
        return item

    return aask, began


def test_a_call_that_waits_for_an_async_limiter_is_not_made_within_a_wait_that_the_server_names():
    with VirtualTime() as virtual:
        aask, began = waits_for_a_limiter(error=refusal(10.0))
        assert virtual.run(aask.amap(range(10))) == list(range(10))
    refused = began[1][0] + 0.1
    assert began[0][1] == 0
    assert all(at >= refused + 10 for at, _ in began[2:])
    # Which one is next is the limiter's: older ones keep no order.
    assert sorted(item for _, item in began) == sorted([*range(10), began[1][1]])
    assert (aask.stats.started, aask.stats.refused, aask.stats.in_flight) == (11, 1, 0)


def test_nor_is_a_direct_call():
    with VirtualTime() as virtual:
        aask, began = waits_for_a_limiter(error=refusal(10.0))

        async def main():
            return await asyncio.gather(*[aask(item) for item in range(10)])

        assert virtual.run(main()) == list(range(10))
    assert all(at >= began[1][0] + 10.1 for at, _ in began[2:])
    assert (aask.stats.started, aask.stats.in_flight) == (11, 0)


@pytest.mark.parametrize("method", ["amap", "as_completed"])
def test_nor_is_one_after_as_many_failures_as_were_allowed(method):
    with VirtualTime() as virtual:
        aask, began = waits_for_a_limiter(error=ValueError())

        async def main():
            if method == "amap":
                return await aask.amap(range(20), return_exceptions=True, max_failures=1)
            outcomes = aask.as_completed(range(20), max_failures=1, return_exceptions=True)
            return [one.error or one.value for one in sorted([one async for one in outcomes], key=lambda o: o.index)]

        results = virtual.run(main())
    (_, first), (_, failed) = began
    kinds = {first: int, failed: ValueError}
    assert [type(result) for result in results] == [kinds.get(item, NotRun) for item in range(20)]
    assert (aask.stats.started, aask.stats.in_flight) == (2, 0)


def test_nor_is_one_after_a_stop_and_coroutines_are_closed():
    with VirtualTime() as virtual:
        aask, began = waits_for_a_limiter()

        async def main():
            outcomes = aask.as_completed(range(20))
            found = []
            async for one in outcomes:
                found.append(one.value)
                outcomes.stop()
            return found

        assert virtual.run(main()) == [0]
        assert [item for _, item in began] == [0]

        async def spent(item):
            began.append((0.0, item))
            raise SimulatedAPIError("no credit", 402, {}, {"error": {"code": "insufficient_quota"}})

        async def gathered():
            limiter = aiolimiter.AsyncLimiter(1, 1)
            return await gather_bounded(*[spent(item) for item in range(5)], rate=limiter, return_exceptions=True)

        results = virtual.run(gathered())
    assert [item for _, item in began] == [0, 0]
    assert [type(result) for result in results] == [SimulatedAPIError, *[NotRun] * 4]


def test_no_attempt_starts_later_than_its_total_though_it_waited_for_an_async_limiter():
    limiter = aiolimiter.AsyncLimiter(1, 10)

    @parallel_map(max_concurrency=2, rate=limiter, retry=Retry(attempts=9, total=15, wait=0))
    async def aask(item):
        began.append(asyncio.get_running_loop().time())
        raise ConnectionError

    began: list[float] = []
    with VirtualTime() as virtual, pytest.raises(ConnectionError):
        virtual.run(aask.amap([0]))
    assert len(began) == 2
    assert began[-1] - began[0] <= 15


def test_what_had_finished_is_told_when_a_nested_run_fails():
    @parallel_map(max_concurrency=1)
    def inner(x):
        if x == 2:
            raise KeyError
        return x

    @parallel_map(max_concurrency=1)
    def outer(n):
        return inner.map(range(n))

    with pytest.raises(KeyError) as raised:
        outer.map([1, 2, 3])
    assert partial_results(raised.value) == {0: [0], 1: [0, 1]}
    assert raised.value.__notes__ == ["fanmap: item 2 of inner", "fanmap: item 2 of outer"]


def test_a_block_costs_one_of_each_rate_whatever_the_rate_says_of_calls():
    account = Limits(1, rate=Rate(2, per=math.inf, cost=lambda *_: 2))
    for _ in range(2):
        with account:
            pass
    with pytest.raises(BudgetExceeded), account:
        pass
