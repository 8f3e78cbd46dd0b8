"""People before jobs: calls in the background start when nobody else waits, and a line may have an end."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import statistics
import threading

import pytest
import trio

from fanmap import Busy, Limits, Rate, Retry, gather_bounded, parallel_map
from fanmap._drive import clock
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep

both_loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def awaited(loop, main):
    """Run it in virtual time, on this loop."""
    with VirtualTime() as virtual:
        return virtual.run_trio(main) if loop == "trio" else virtual.run(main())


async def pause(seconds):
    await (trio.sleep(seconds) if trio.lowlevel.in_trio_run() else asyncio.sleep(seconds))


async def together(*functions):
    """All of them at once, on either loop; what they returned or raised."""
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


def waits(limits, *, runs, calls, latency=0.2, rest=0.05):
    """How long each interactive call waits beside so many endless background runs, and how many of those ended."""
    done = [0]

    @parallel_map(limits=limits)
    async def ask(item):
        await asyncio.sleep(latency)
        return item

    async def main():
        @parallel_map(limits=limits.background)
        async def job(item):
            await asyncio.sleep(latency)
            done[0] += 1

        tasks = [asyncio.create_task(job.amap(range(100_000))) for _ in range(runs)]
        await asyncio.sleep(1.0)
        found = []
        for _ in range(calls):
            began = clock.now()
            await ask(1)
            found.append(clock.now() - began - latency)
            await asyncio.sleep(rest)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    return awaited("asyncio", main), done[0]


@pytest.mark.parametrize("runs", [1, 4, 10])
def test_an_interactive_call_waits_for_one_calls_end_behind_any_number_of_background_runs(runs):
    found, _ = waits(Limits(8), runs=runs, calls=12)
    assert max(found) <= 0.2 + 0.01


@pytest.mark.parametrize("runs", [1, 4])
def test_an_interactive_call_waits_for_one_interval_of_a_rate_behind_any_number_of_background_runs(runs):
    found, _ = waits(Limits(32, rpm=600), runs=runs, calls=12)
    assert statistics.median(found) <= 0.1 + 0.01


def test_the_background_has_what_the_foreground_leaves():
    calls, seconds = 40, 1.0 + 40 * 0.25
    found, done = waits(Limits(4), runs=2, calls=calls)
    rest = 4 * (seconds + sum(found)) / 0.2 - calls
    assert done >= 0.95 * rest


@both_loops
def test_first_come_first_served_within_each(loop):
    limits, order = Limits(1), []

    async def call(name):
        await pause(1.0)
        order.append(name)

    ask, job = parallel_map(limits=limits)(call), parallel_map(limits=limits.background)(call)

    async def later(call, number):
        await pause(0.1 + number / 100)
        await call(number)

    async def main():
        jobs = [lambda n=n: later(job, n) for n in range(3)]
        people = [lambda n=n: later(ask, n) for n in range(5, 8)]
        await together(lambda: ask("first"), *jobs, *people)

    awaited(loop, main)
    assert order == ["first", 5, 6, 7, 0, 1, 2]


def test_a_run_of_the_foreground_keeps_its_slots_from_item_to_item():
    """Between two items nobody of it waits: the background does not get in between."""
    limits, order = Limits(2), []

    @parallel_map(limits=limits)
    async def call(item):
        await asyncio.sleep(1.0)
        order.append(item)

    async def main():
        behind = asyncio.create_task(call.with_options(limits=limits.background).amap([f"job {n}" for n in range(6)]))
        await asyncio.sleep(0.5)
        await call.amap(range(10))
        await behind

    awaited("asyncio", main)
    assert order[2:12] == list(range(10))


def test_so_does_a_run_under_a_rate():
    limits, order = Limits(2, rate=Rate(100, 1.0, burst=100)), []

    @parallel_map(limits=limits)
    async def call(item):
        await asyncio.sleep(1.0)
        order.append(item)

    async def main():
        behind = asyncio.create_task(call.with_options(limits=limits.background).amap([f"job {n}" for n in range(6)]))
        await asyncio.sleep(0.5)
        await call.amap(range(10))
        await behind

    awaited("asyncio", main)
    assert order[2:12] == list(range(10))


def test_a_nested_call_has_its_callers_kind():
    limits, order = Limits(2), []

    @parallel_map(limits=limits)
    async def inner(name):
        await asyncio.sleep(1.0)
        order.append(name)

    @parallel_map(limits=limits.background)
    async def outer(name):
        await inner.amap([f"{name} {part}" for part in "abc"])

    async def person(name):
        await asyncio.sleep(0.5)
        await inner(name)

    async def main():
        await asyncio.gather(outer.amap(["one", "two"]), *(person(f"person {n}") for n in range(2)))

    awaited("asyncio", main)
    # The two jobs lend their slots to their own parts; a foreground call waits until one of the two has ended.
    assert [name for name in order if name.startswith("person")] == ["person 0", "person 1"]
    assert order.index("person 0") >= 6 - 1
    assert limits.stats.in_flight == limits.stats.waiting == 0


def test_blocks_and_gathers_may_be_in_the_background_as_well():
    limits, order = Limits(1), []

    async def main():
        async def block(of, name):
            async with of:
                await asyncio.sleep(1.0)
                order.append(name)

        async def item():
            await asyncio.sleep(1.0)
            order.append("item")

        tasks = [
            asyncio.create_task(one)
            for one in (
                block(limits, "first"),
                block(limits.background, "behind"),
                gather_bounded(item, limits=limits.background),
                block(limits, "before"),
            )
        ]
        await asyncio.gather(*tasks)

    awaited("asyncio", main)
    assert order == ["first", "before", "behind", "item"]


def test_a_background_is_the_same_budget():
    limits = Limits(3, rpm=60)
    background = limits.background
    assert background is limits.background
    assert background.background is background
    assert repr(background) == "Limits(max_concurrency=3, rpm=60).background"
    assert background.max_concurrency == 3
    ask = parallel_map(limits=background)(lambda item: item)
    assert ask.limits is background
    ask(1)
    assert limits.stats.done == background.stats.done == 1
    assert limits.history == background.history
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(background)


def test_threads_of_the_foreground_go_first_too():
    with VirtualTime() as virtual:
        limits, order = Limits(1), []

        @parallel_map(limits=limits)
        def call(name):
            sleep(1.0)
            order.append(name)

        job = call.with_options(limits=limits.background)
        threads = [virtual.start(job.map, [f"job {n}" for n in range(4)])]
        threads += [virtual.start(call, f"person {n}") for n in range(3)]
        for thread in threads:
            virtual.join(thread)
    people = [place for place, name in enumerate(order) if name.startswith("person")]
    assert people in ([0, 1, 2], [1, 2, 3])


@pytest.mark.parametrize("victim", ["job", "person"])
def test_nothing_is_lost_when_one_of_either_kind_is_cancelled(victim):
    limits = Limits(2, rate=Rate(2, 1.0, burst=1))

    @parallel_map(limits=limits)
    async def call(item):
        await asyncio.sleep(0.3)
        return item

    job = call.with_options(limits=limits.background)

    async def main():
        for steps in range(40):
            people = [asyncio.create_task(call(n)) for n in range(3)]
            jobs = [asyncio.create_task(job(n)) for n in range(3)]
            await asyncio.sleep(steps * 0.05)
            (jobs if victim == "job" else people)[steps % 3].cancel()
            results = await asyncio.gather(*people, *jobs, return_exceptions=True)
            assert sum(isinstance(result, asyncio.CancelledError) for result in results) <= 1
            assert limits.stats.in_flight == limits.stats.waiting == 0

    awaited("asyncio", main)


# A line with an end


def slow(limits, **settings):
    @parallel_map(limits=limits, **settings)
    async def ask(item):
        await pause(1.0)
        return item

    return ask


@both_loops
def test_a_call_that_finds_the_line_full_is_busy_at_once(loop):
    limits = Limits(2, max_waiting=1)
    ask = slow(limits)

    async def main():
        began = clock.now()
        results = await together(*[lambda n=n: ask(n) for n in range(6)])
        assert clock.now() - began == pytest.approx(2.0)
        return results

    results = awaited(loop, main)
    assert sum(isinstance(result, Busy) for result in results) == 3
    assert sorted(result for result in results if not isinstance(result, Busy)) == sorted(set(range(6)) - {
        place for place, result in enumerate(results) if isinstance(result, Busy)
    })  # fmt: skip


def test_where_nobody_may_wait_a_free_slot_is_enough():
    limits = Limits(2, max_waiting=0)
    ask = slow(limits)

    async def main():
        assert await together(lambda: ask(1), lambda: ask(2)) == [1, 2]
        (first, second, third) = await together(lambda: ask(1), lambda: ask(2), lambda: ask(3))
        assert (first, second) == (1, 2)
        assert isinstance(third, Busy)
        assert third.retry_after == pytest.approx(0.5)  # two slots, and calls took a second

    awaited("asyncio", main)


def test_a_slot_that_waits_for_a_rate_only_is_no_line():
    limits = Limits(4, rate=Rate(1, 1.0, burst=1), max_waiting=0)
    ask = slow(limits)

    async def main():
        results = await together(*[lambda n=n: ask(n) for n in range(6)])
        assert results[:4] == [0, 1, 2, 3]
        assert [type(result) for result in results[4:]] == [Busy, Busy]
        assert results[4].retry_after == 1.0  # of the rate

    awaited("asyncio", main)


RUNS = {
    "amap": lambda ask, items, **options: ask.amap(items, **options),
    "imap": lambda ask, items, **options: _listed(ask.imap(items, **options)),
    "as_completed": lambda ask, items, **options: _listed(ask.as_completed(items, **options)),
    "gather": lambda ask, items, **options: gather_bounded(
        *[lambda n=n: pause(0.1) for n in items], limits=ask.limits, **options
    ),
}


async def _listed(results):
    return [result async for result in results]


@both_loops
@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize("options", [{}, {"return_exceptions": True}])
def test_a_run_whose_first_call_finds_the_line_full_is_busy_and_has_called_nothing(loop, way, options):
    limits, called = Limits(2, max_waiting=1), []

    @parallel_map(limits=limits)
    async def ask(item):
        called.append(item)
        await pause(1.0)

    async def main():
        async def late():
            await pause(0.5)
            with pytest.raises(Busy) as busy:
                await RUNS[way](ask, range(10, 20), **options)
            assert clock.now() - began == 0.5
            assert 0 < busy.value.retry_after <= 1.0

        began = clock.now()
        await together(*[lambda n=n: ask(n) for n in range(3)], late)
        assert limits.stats.in_flight == limits.stats.waiting == 0

    awaited(loop, main)
    assert sorted(called) == [0, 1, 2]


def test_a_run_that_was_let_in_is_never_busy_again():
    limits = Limits(2, max_waiting=1)
    ask = slow(limits)

    async def main():
        runs = await together(lambda: ask.amap(range(20)), lambda: ask.amap(range(20)))
        assert runs == [list(range(20)), list(range(20))]

    awaited("asyncio", main)


def test_repeats_are_never_busy():
    limits, attempts = Limits(1, max_waiting=0), []

    @parallel_map(limits=limits, retry=Retry(3, wait=1.0))
    async def ask(item):
        attempts.append(item)
        await asyncio.sleep(0.5)
        if attempts.count(item) < 2:
            raise ConnectionResetError("simulated")
        return item

    async def main():
        first = asyncio.create_task(ask(1))
        await asyncio.sleep(1.2)  # it backs off
        return await asyncio.gather(first, ask(2))

    assert awaited("asyncio", main) == [1, 2]


def test_what_was_refused_to_start_is_not_busy_when_it_is_sent_again():
    limits, attempts = Limits(1, max_waiting=0), []

    @parallel_map(limits=limits)
    async def ask(item):
        attempts.append(item)
        if attempts.count(item) == 1:
            raise SimulatedAPIError("simulated", 429, {"retry-after": "1"}, {})
        await asyncio.sleep(3.0)
        return item

    async def main():
        first = asyncio.create_task(ask(1))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(ask.with_options(retry=False)(2))  # has the slot, and waits at the gate
        await asyncio.sleep(0.1)
        with pytest.raises(Busy) as busy:
            await ask(3)
        assert busy.value.retry_after == pytest.approx(0.4, abs=0.01)  # the gate's
        assert isinstance((await asyncio.gather(second, return_exceptions=True))[0], SimulatedAPIError)
        return await first

    assert awaited("asyncio", main) == 1
    assert attempts == [1, 2, 1]


def test_the_background_is_never_busy():
    limits = Limits(1, max_waiting=0)
    ask = slow(limits)
    job = ask.with_options(limits=limits.background)

    async def main():
        results = await together(lambda: ask(1), lambda: job(2), lambda: job.amap([3, 4]))
        assert results == [1, 2, [3, 4]]

    awaited("asyncio", main)


def test_the_background_takes_no_place_in_the_line():
    limits = Limits(1, max_waiting=1)
    ask = slow(limits)
    job = ask.with_options(limits=limits.background)

    async def main():
        results = await together(*[lambda n=n: job(n) for n in range(4)], lambda: ask(9), lambda: ask(10))
        assert results[:5] == [0, 1, 2, 3, 9]
        assert isinstance(results[5], Busy)

    awaited("asyncio", main)


def test_a_call_inside_one_that_was_let_in_is_never_busy():
    limits = Limits(1, max_waiting=0)
    inner = slow(limits)

    @parallel_map(limits=limits)
    async def outer(item):
        return await inner.amap([item, item + 1])

    async def main():
        return await outer(1)

    assert awaited("asyncio", main) == [1, 2]


def test_results_that_a_journal_has_are_never_busy(tmp_path):
    limits = Limits(1, max_waiting=0)
    begun, free = asyncio.Event(), asyncio.Event()

    @parallel_map(limits=limits)
    async def ask(item):
        if item == 9:  # has the slot for as long as the files are read
            begun.set()
            await free.wait()
        return item

    async def main():
        assert await ask.amap([1, 2], resume=tmp_path / "kept.jsonl") == [1, 2]
        held = asyncio.create_task(ask(9))
        await begun.wait()
        assert await ask.amap([1, 2], resume=tmp_path / "kept.jsonl") == [1, 2]
        with pytest.raises(Busy):
            await ask.amap([1, 2, 3], resume=tmp_path / "kept.jsonl")
        free.set()
        await held
        assert await ask.amap([1, 2, 3], resume=tmp_path / "kept.jsonl") == [1, 2, 3]

    asyncio.run(asyncio.wait_for(main(), 60))


def test_blocks_are_busy_and_their_body_does_not_run():
    limits, ran = Limits(1, max_waiting=0), []
    with limits, contextlib.suppress(Busy):
        thread = threading.Thread(target=lambda: entered(limits, ran))
        thread.start()
        thread.join(60)
    assert ran == ["busy"]
    with limits:
        assert limits.stats.in_flight == 1
    assert limits.stats.in_flight == 0


def entered(limits, ran):
    try:
        with limits:
            ran.append("body")
    except Busy:
        ran.append("busy")


def test_direct_calls_of_threads_are_busy():
    with VirtualTime() as virtual:
        limits, results = Limits(1, max_waiting=1), []

        @parallel_map(limits=limits)
        def ask(item):
            sleep(1.0)
            return item

        def one(item):
            try:
                results.append(ask(item))
            except Busy as error:
                results.append(error)

        for thread in [virtual.start(one, item) for item in range(5)]:
            virtual.join(thread)
    assert sum(isinstance(result, Busy) for result in results) == 3


def test_a_busy_call_inside_one_under_other_limits_is_no_refusal_of_that():
    inner, outer = Limits(1, max_waiting=0), Limits(4)
    ask = slow(inner)
    attempts = []

    @parallel_map(limits=outer)
    async def around(item):
        attempts.append(item)
        return await ask(item)

    async def main():
        results = await together(lambda: around(1), lambda: around(2))
        assert isinstance(results[1], Busy)

    awaited("asyncio", main)
    assert attempts == [1, 2]
    assert outer.stats.refused == 0


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-1, ValueError, "max_waiting must be >= 0, got -1"),
        (1.5, TypeError, "max_waiting must be an int >= 0 or None, got 1.5"),
        (True, TypeError, "max_waiting must be an int >= 0 or None, got True"),
        ("3", TypeError, "max_waiting must be an int >= 0 or None, got '3'"),
    ],
)
def test_max_waiting_is_checked(value, error, text):
    with pytest.raises(error) as raised:
        Limits(2, max_waiting=value)
    assert str(raised.value) == text


def test_busy_says_what_and_when_and_travels():
    assert str(Busy(1.5, 20)) == "all slots are taken and 20 calls are waiting: try again in 1.5 s"
    assert str(Busy(1.5, 1)) == "all slots are taken and one call is waiting: try again in 1.5 s"
    assert str(Busy(0.25, 0)) == "all slots are taken and no call may wait: try again in 0.25 s"
    error = pickle.loads(pickle.dumps(Busy(1.5, 20)))
    assert (error.retry_after, error.waiting) == (1.5, 20)
    assert repr(Limits(2, max_waiting=0)) == "Limits(max_concurrency=2, max_waiting=0)"
