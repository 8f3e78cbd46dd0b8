"""What holds for every way to run a function: from sync code, asyncio and trio, whole or one by one."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time
import traceback
import weakref

import pytest
import trio

from fanmap import (
    CallTimeout,
    DeadlineExceeded,
    NotRun,
    Outcome,
    Retry,
    parallel_map,
    partial_results,
)
from fanmap.testing import VirtualTime, sleep

pytestmark = pytest.mark.usefixtures("nothing_left")
WINDOW = 8  # results of an ordered run that may wait for their turn, times the workers


class Broke(Exception):
    pass


def doubled(way, **options):
    async def double(x):
        await way.pause(0.0005 * (x % 3))
        return x * 2

    return way.decorate(double, **options)


# Order


SOURCES = {
    "list": lambda: list(range(30)),
    "tuple": lambda: tuple(range(30)),
    "range": lambda: range(30),
    "iterator": lambda: iter(range(30)),
    "generator": lambda: (x for x in range(30)),
    "dict keys": lambda: dict.fromkeys(range(30)).keys(),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_results_are_in_input_order(way, source):
    assert way.run(doubled(way, max_concurrency=7), source()) == [x * 2 for x in range(30)]


@pytest.mark.parametrize("most", [1, 2, 31, 1000])
def test_any_number_of_workers_does(way, most):
    assert way.run(doubled(way, max_concurrency=most), range(30)) == [x * 2 for x in range(30)]


def test_an_async_input_is_an_input_like_any_other(awaiting_way):
    async def numbers():
        for x in range(30):
            if x % 7 == 0:
                await awaiting_way.pause(0)
            yield x

    assert awaiting_way.run(doubled(awaiting_way), numbers()) == [x * 2 for x in range(30)]


@pytest.mark.parametrize("order", ["imap", "as_completed"])
def test_a_range_may_be_longer_than_any_length(order):
    with getattr(parallel_map(lambda x: x), order)(range(10**20)) as results:
        one = next(results)
        assert (one if order == "imap" else one.value) in range(1000)


def test_one_functions_results_are_the_next_ones_inputs(way):
    """A pipeline: the first function's results flow into the second as they come."""

    async def main():
        first, second = doubled(way), doubled(way, max_concurrency=3)
        results = first.imap(iter(range(30)))
        async with way.opened(results):
            return await way.collect(second, results)

    assert way.go(main) == [x * 4 for x in range(30)]


def test_one_by_one_the_last_may_finish_first(lazy_way, gates):
    """Items end in the opposite order: imap still hands out in input order, as_completed as they end."""
    ended = [gates() for _ in range(5)]

    async def ask(x):
        if x < 4:
            await ended[x + 1].passed()
        return x

    async def main():
        found = []
        async with lazy_way.opened(lazy_way.start(lazy_way.decorate(ask, max_concurrency=5), range(5))) as results:
            if lazy_way.method == "imap":
                for gate in reversed(ended):
                    gate.open()
            while len(found) < 5:
                one = await lazy_way.next(results)
                if lazy_way.method == "as_completed":
                    one = one.result()
                    ended[one].open()
                found.append(one)
        return found

    assert lazy_way.go(main) == ([0, 1, 2, 3, 4] if lazy_way.method == "imap" else [4, 3, 2, 1, 0])


def test_outcomes_say_how_it_went():
    @parallel_map
    def ask(x):
        return 1 / x

    failed, fine = sorted(ask.as_completed([0, 2]), key=lambda outcome: outcome.index)
    assert (fine.index, fine.value, fine.error, fine.attempts) == (1, 0.5, None, 1)
    assert fine.queued <= fine.started <= fine.ended
    assert fine.seconds == fine.ended - fine.started
    assert type(failed.error) is ZeroDivisionError
    assert repr(fine).startswith("<Outcome 1: ok after ")
    assert repr(failed).startswith("<Outcome 0: failed with ZeroDivisionError after ")
    with pytest.raises(AttributeError):
        fine.value = 3
    assert isinstance(fine, Outcome)


@pytest.mark.parametrize("options", [{}, {"retry": Retry()}], ids=["", "retry"])
def test_an_item_that_was_read_ahead_starts_when_the_one_before_it_has_ended(options):
    ask = parallel_map(max_concurrency=1, **options)(lambda x: time.sleep(0.01))
    with ask.as_completed(x for x in range(6)) as results:
        outcomes = list(results)
    assert all(one.ended <= two.started for one, two in itertools.pairwise(outcomes))
    assert results.summary.speedup <= 1


# Concurrency and laziness


@pytest.mark.parametrize("most", [1, 3])
def test_never_more_at_once_than_allowed(way, meter, most):
    async def ask(x):
        with meter:
            await way.pause(0.001)
        return x

    way.run(way.decorate(ask, max_concurrency=most), iter(range(20)))
    assert meter.most <= most


def test_a_run_may_ask_for_fewer_and_never_gets_more(way, meter):
    async def ask(x):
        with meter:
            await way.pause(0.001)
        return x

    ask = way.decorate(ask, max_concurrency=3)
    way.run(ask, range(12), max_concurrency=2)
    assert meter.most <= 2
    way.run(ask, range(20), max_concurrency=50)
    assert meter.most <= 3


def test_all_that_may_run_at_once_do(way, gates):
    everybody = gates()
    lock, inside = threading.Lock(), []

    async def ask(x):
        with lock:
            inside.append(x)
            if len(inside) == 5:
                everybody.open()
        await everybody.passed()
        return x

    assert way.run(way.decorate(ask, max_concurrency=5), iter(range(5))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("most", [1, 4])
def test_lazy_ways_take_no_more_than_the_window_ahead_of_what_was_consumed(lazy_way, most):
    taken, ended = [], []

    def endless():
        for x in itertools.count():
            taken.append(x)
            yield x

    async def ask(x):
        ended.append(x)
        return x

    async def main():
        async with lazy_way.opened(lazy_way.start(lazy_way.decorate(ask, max_concurrency=most), endless())) as results:
            assert taken == []  # nothing is taken before a result is asked for
            for consumed in range(1, 30):
                await lazy_way.next(results)
                assert len(taken) <= consumed + (WINDOW + 1) * most
            at_most = len(taken)
            await lazy_way.rest(0.01)  # a slow consumer: nobody works or reads ahead without bound
            assert len(ended) <= at_most == len(taken)

    lazy_way.go(main)


def test_a_lazy_way_reads_its_input_only_while_a_result_is_asked_for(lazy_way):
    inside = []
    where = []

    def numbers():
        for x in range(40):
            where.append((bool(inside), threading.get_ident()))
            yield x

    async def ask(x):
        return x

    async def main():
        async with lazy_way.opened(lazy_way.start(lazy_way.decorate(ask, max_concurrency=2), numbers())) as results:
            for _ in range(40):
                inside.append(1)
                await lazy_way.next(results)
                inside.clear()
                await lazy_way.rest(0)
        return threading.get_ident()

    here = lazy_way.go(main)
    assert where == [(True, here)] * 40


def test_a_whole_way_reads_no_further_than_it_starts_calls(whole_way, gates):
    taken = []
    held = gates()

    def numbers():
        for x in range(1000):
            taken.append(threading.get_ident())
            yield x

    async def ask(x):
        if x == 0:
            before = -1
            while before < len(taken):
                before = len(taken)
                await whole_way.pause(0.005)
            assert before <= 100
            held.open()
        await held.passed()
        return x

    assert whole_way.run(whole_way.decorate(ask, max_concurrency=4), numbers()) == list(range(1000))
    assert set(taken) == {threading.get_ident()}


# Failures


def test_failures_stand_in_their_place(way):
    async def ask(x):
        await way.pause(0.0005)
        if x % 3 == 1:
            raise Broke(x)
        return x

    found = way.run(way.decorate(ask, max_concurrency=4), iter(range(20)), return_exceptions=True)
    assert [one.args[0] if isinstance(one, Broke) else one for one in found] == list(range(20))
    assert [type(one) is Broke for one in found] == [x % 3 == 1 for x in range(20)]


def test_the_first_failure_is_raised_as_it_is_with_its_traceback_and_a_note(strict_way):
    error = Broke("out")

    async def the_users_own_function(prompt):
        if prompt == "secret 3":
            raise error
        return prompt

    ask = strict_way.decorate(the_users_own_function, max_concurrency=2)
    with pytest.raises(Broke) as raised:
        strict_way.run(ask, [f"secret {x}" for x in range(8)])
    assert raised.value is error
    assert error.__notes__ == ["fanmap: item 3 of the_users_own_function"]
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == "the_users_own_function"
    assert len(frames) < 25
    assert error.__cause__ is None
    assert error.__context__ is None


def test_after_a_failure_nothing_starts(strict_way, gates):
    """What was under way may end; what had not started never does."""
    failed, over = gates(), gates()
    started = []

    async def ask(x):
        started.append(x)
        if x == 3:
            failed.open()
            raise Broke
        await (failed if x < 3 else over).passed()
        return x

    with pytest.raises(Broke):
        strict_way.run(strict_way.decorate(ask, max_concurrency=4), range(100))
    over.open()
    # A thread that was told to start may reach the function's first line a moment later.
    strict_way.go(strict_way.quiet)
    assert sorted(started) == list(range(len(started)))
    assert len(started) <= 7  # the first three may end, and their workers go on, before the fourth has failed


def test_async_siblings_are_cancelled_and_have_ended_before_the_failure_leaves(strict_way, gates):
    if not strict_way.is_async:
        pytest.skip("threads cannot be cancelled")
    underway, inside, ended = gates(), [], []

    async def ask(x):
        if x == 0 and strict_way.method == "imap":
            return x
        if x == 1:
            await underway.passed()
            raise Broke
        try:
            inside.append(x)
            if len(inside) == 3:
                underway.open()
            await strict_way.pause(10_000)
        finally:
            if strict_way.place == "trio":
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.005)
            else:
                await asyncio.sleep(0.005)  # an item's own clean-up runs to its end
            ended.append(x)

    with pytest.raises(Broke):
        strict_way.run(strict_way.decorate(ask, max_concurrency=4), range(100))
    assert sorted(ended) == ([2, 3, 4] if strict_way.method == "imap" else [0, 2, 3])


def test_what_finishes_while_its_siblings_are_being_cancelled_is_kept(async_way, gates):
    """Between an item's failure and the moment in which the exception leaves."""
    if not async_way.fails_fast:
        pytest.skip("as_completed raises for no item")
    underway, inside = gates(), []

    async def answer(item):
        if item == 0:
            await underway.passed()
            raise KeyError
        try:
            inside.append(item)
            if len(inside) == 2:
                underway.open()
            await async_way.pause(10_000)
        except BaseException:
            if item == 1:
                return "in time"
            raise

    with pytest.raises(KeyError) as raised:
        async_way.run(async_way.decorate(answer, max_concurrency=3), range(3))
    assert partial_results(raised.value) == {1: "in time"}


def test_imap_hands_out_what_came_before_the_failure_and_then_raises_it(strict_way, gates):
    if strict_way.method != "imap":
        pytest.skip("imap")
    failed = gates()

    async def ask(x):
        if x == 3:
            failed.open()
            raise Broke
        await failed.passed()  # items before it end after it has failed
        return x

    found = []

    async def main():
        async with strict_way.opened(
            strict_way.start(strict_way.decorate(ask, max_concurrency=4), range(100))
        ) as results:
            with pytest.raises(Broke):
                while True:
                    found.append(await strict_way.next(results))
            with pytest.raises(StopAsyncIteration):
                await strict_way.next(results)

    strict_way.go(main)
    assert found == [0, 1, 2]


def test_what_had_finished_is_told_with_the_failure(whole_way, gates):
    finished = gates()
    done = []

    async def ask(x):
        if x == 5:
            await finished.passed()
            raise Broke
        done.append(x)
        if len(done) == 5:
            finished.open()
        return x * 2

    with pytest.raises(Broke) as raised:
        whole_way.run(whole_way.decorate(ask, max_concurrency=1), range(100))
    assert partial_results(raised.value) == {x: x * 2 for x in range(5)}
    assert partial_results(ValueError()) == {}
    wrapped = RuntimeError("in its place")
    wrapped.__cause__ = raised.value
    assert partial_results(wrapped) == {x: x * 2 for x in range(5)}


def test_many_failures_at_once_are_one(strict_way, gates):
    together = gates()
    inside = []

    async def ask(x):
        inside.append(x)
        if len(inside) == 8:
            together.open()
        await together.passed()
        raise Broke(x)

    with pytest.raises(Broke) as raised:
        strict_way.run(strict_way.decorate(ask, max_concurrency=8), range(50))
    assert len(raised.value.__notes__) == 1
    if strict_way.method == "imap":
        assert raised.value.args == (0,)  # of several the first in input order


# Deadlines


def stuck_from_the_third_on(way):
    async def ask(x):
        if x >= 3:
            await way.pause(1000)
        return x

    return way.decorate(ask, max_concurrency=2)


def test_a_run_that_takes_too_long_ends_with_what_had_finished(way):
    with way.virtually() as virtual:
        with pytest.raises(DeadlineExceeded, match="the run of ask took longer than 0.1 s") as raised:
            way.run(stuck_from_the_third_on(way), range(100), deadline=0.1)
        assert virtual.now() == 0.1
    if not way.is_lazy:
        assert partial_results(raised.value) == {0: 0, 1: 1, 2: 2}
    assert isinstance(raised.value, TimeoutError)


@pytest.mark.parametrize("source", [list, iter, set], ids=["list", "iterator", "set"])
def test_in_place_of_what_a_deadline_left_stand_deadline_exceeded_and_not_run(way, source):
    with way.virtually():
        found = way.run(stuck_from_the_third_on(way), source(range(30)), deadline=0.1, return_exceptions=True)
    assert found[:3] == [0, 1, 2]
    assert [type(one) for one in found[3:5]] == [DeadlineExceeded] * 2
    assert {type(one) for one in found[5:]} <= {NotRun}
    assert all(type(one.__cause__) is DeadlineExceeded for one in found[3:])
    if source is not iter:  # of an iterator, what was taken
        assert len(found) == 30


def test_a_deadline_that_is_not_reached_changes_nothing(way):
    assert way.run(doubled(way), range(20), deadline=3000) == [x * 2 for x in range(20)]


# Timeouts


def test_a_call_that_takes_too_long_fails_and_the_others_go_on(way):
    async def ask(x):
        if x == 1:
            await way.pause(1000)
        return x

    with way.virtually() as virtual:
        ask = way.decorate(ask, timeout=0.1, max_concurrency=2)
        found = way.run(ask, range(5), return_exceptions=True)
        assert virtual.now() == 0.1
        assert type(found[1]) is CallTimeout
        assert "longer than 0.1 s" in str(found[1])
        assert found[:1] + found[2:] == [0, 2, 3, 4]
        if way.fails_fast:
            with pytest.raises(CallTimeout) as raised:
                way.run(ask, range(5))
            assert raised.value.__notes__ == ["fanmap: item 1 of ask"]


def test_queueing_does_not_count_as_time_of_the_call(way):
    async def ask(x):
        await way.pause(0.4)
        return x

    with way.virtually() as virtual:
        assert way.run(way.decorate(ask, timeout=0.5, max_concurrency=1), range(4)) == [0, 1, 2, 3]
        assert virtual.now() == pytest.approx(1.6)


def test_a_timeout_error_of_the_functions_own_stays_its_own(way):
    async def ask(x):
        raise TimeoutError("mine")

    (found,) = way.run(way.decorate(ask, timeout=1000), [1], return_exceptions=True)
    assert type(found) is TimeoutError
    assert str(found) == "mine"


def test_none_is_an_answer_under_a_timeout_too(way):
    async def ask(x):
        return None

    assert way.run(way.decorate(ask, timeout=1000), [1, 2]) == [None, None]


def test_an_async_call_that_timed_out_was_cancelled(async_way):
    ended = []

    async def ask(x):
        try:
            await async_way.pause(10_000)
        finally:
            ended.append(x)

    found = async_way.run(async_way.decorate(ask, timeout=0.01), range(3), return_exceptions=True)
    assert {type(one) for one in found} == {CallTimeout}
    assert sorted(ended) == [0, 1, 2]


def test_direct_calls_time_out_too(gates):
    held = gates()

    @parallel_map(timeout=0.01)
    def ask(x):
        while not held.is_open():
            time.sleep(0.001)
        return x

    @parallel_map(timeout=0.01)
    async def aask(x):
        await (trio.sleep(10_000) if trio.lowlevel.in_trio_run() else asyncio.sleep(10_000))

    with pytest.raises(CallTimeout, match="longer than 0.01 s"):
        ask(1)
    with pytest.raises(CallTimeout, match="longer than 0.01 s"):
        asyncio.run(aask(1))
    with pytest.raises(CallTimeout, match="longer than 0.01 s"):
        trio.run(aask, 1)


def test_stats_say_how_many_threads_were_left_behind():
    @parallel_map(timeout=0.01, max_concurrency=2)
    def ask(x):
        sleep(1000 if x < 3 else 0)
        return x

    with VirtualTime(), ask.as_completed(range(5)) as results:
        outcomes = list(results)
        assert sum(type(outcome.error) is CallTimeout for outcome in outcomes) == 3
        assert results.stats.abandoned == 3


# Leaving early


def endless_input(closed):
    try:
        yield from itertools.count()
    finally:
        closed.append(threading.get_ident())


@pytest.mark.parametrize("leaving", ["close", "block", "drop", "failure", "error in the block"])
def test_an_early_exit_stops_the_run_and_closes_the_input(lazy_way, leaving):
    closed, started = [], []

    async def ask(x):
        started.append(x)
        await lazy_way.pause(0.0005)
        return x

    ask = lazy_way.decorate(ask, max_concurrency=3)

    async def main():
        results = lazy_way.start(ask, endless_input(closed))
        if leaving == "drop" and lazy_way.place != "trio":
            for _ in range(3):
                await lazy_way.next(results)
            del results
        elif leaving == "close" and lazy_way.place != "trio":
            for _ in range(3):
                await lazy_way.next(results)
            await lazy_way.close(results)
            await lazy_way.close(results)  # again is nothing
            with pytest.raises(StopAsyncIteration):
                await lazy_way.next(results)
        elif leaving == "failure":

            def fails(x):
                raise Broke

            broken = parallel_map(fails)
            with pytest.raises(Broke):
                await lazy_way.next(results) if False else broken.map([1])
            async with lazy_way.opened(results):
                await lazy_way.next(results)
        elif leaving == "error in the block":
            with pytest.raises(Broke):
                async with lazy_way.opened(results):
                    await lazy_way.next(results)
                    raise Broke
        else:
            async with lazy_way.opened(results):
                for _ in range(3):
                    await lazy_way.next(results)
        await lazy_way.until(lambda: closed)
        await lazy_way.quiet()
        now = len(started)
        await lazy_way.rest(0.002)
        assert len(started) == now
        return threading.get_ident()

    here = lazy_way.go(main)
    assert closed == [here]


def test_a_failure_closes_the_input(strict_way):
    closed = []

    async def ask(x):
        if x == 5:
            raise Broke
        return x

    with pytest.raises(Broke):
        strict_way.run(strict_way.decorate(ask, max_concurrency=2), endless_input(closed))
    assert closed == [threading.get_ident()]


def test_an_input_that_fails_when_it_is_closed_does_not_hide_the_items_failure(strict_way):
    def inputs():
        try:
            yield from itertools.count()
        finally:
            raise ZeroDivisionError

    async def ask(x):
        if x == 3:
            raise Broke
        return x

    with pytest.raises(Broke) as raised:
        strict_way.run(strict_way.decorate(ask, max_concurrency=1), inputs())
    if not strict_way.is_lazy:
        assert partial_results(raised.value) == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize("leaving", ["close", "block", "error in the block"])
@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_what_an_input_raises_when_it_is_closed_does_not_vanish(lazy_way, leaving, kind):
    def inputs():
        try:
            yield from itertools.count()
        finally:
            raise ZeroDivisionError("on being closed")

    async def ainputs():
        try:
            for x in itertools.count():
                yield x
        finally:
            raise ZeroDivisionError("on being closed")

    if kind == "async generator" and lazy_way.blocks:
        pytest.skip("an async input needs an awaiting caller")

    async def ask(x):
        return x

    async def main():
        results = lazy_way.start(
            lazy_way.decorate(ask, max_concurrency=2), inputs() if kind == "generator" else ainputs()
        )
        if leaving == "close" and lazy_way.place != "trio":
            await lazy_way.next(results)
            with pytest.raises(ZeroDivisionError, match="on being closed"):
                await lazy_way.close(results)
            await lazy_way.close(results)  # again is nothing
        elif leaving == "error in the block":
            with pytest.raises(Broke):
                async with lazy_way.opened(results):
                    await lazy_way.next(results)
                    raise Broke
        else:
            with pytest.raises(ZeroDivisionError, match="on being closed"):
                async with lazy_way.opened(results):
                    await lazy_way.next(results)

    lazy_way.go(main)


def test_what_an_input_raised_where_nobody_came_to_it_is_not_raised_on_leaving(lazy_way):
    def inputs():
        yield 0
        raise ZeroDivisionError

    async def ask(x):
        return x

    async def main():
        async with lazy_way.opened(lazy_way.start(lazy_way.decorate(ask, max_concurrency=2), inputs())) as results:
            await lazy_way.next(results)

    lazy_way.go(main)


def test_a_deadline_closes_the_input(way):
    closed = []

    async def ask(x):
        await way.pause(0.001)
        return x

    inputs = endless_input(closed)
    next(inputs)  # one that was never begun has nothing to close, and a busy machine may take longer than the deadline
    with pytest.raises(DeadlineExceeded):
        way.run(way.decorate(ask, max_concurrency=2), inputs, deadline=0.02)
    assert closed == [threading.get_ident()]


def test_an_async_input_is_closed_by_the_task_that_reads_it(awaiting_way):
    tasks = []

    def task():
        return trio.lowlevel.current_task() if awaiting_way.place == "trio" else asyncio.current_task()

    async def numbers():
        try:
            for x in itertools.count():
                tasks.append(task())
                yield x
        finally:
            tasks.append("closing")
            tasks.append(task())

    async def ask(x):
        await awaiting_way.pause()
        if x == 5:
            raise Broke
        return x

    async def main():
        ask_ = awaiting_way.decorate(ask, max_concurrency=2)
        if awaiting_way.fails_fast:
            with pytest.raises(Broke):
                await awaiting_way.collect(ask_, numbers())
        else:
            async with awaiting_way.opened(awaiting_way.start(ask_, numbers())) as results:
                for _ in range(8):
                    await awaiting_way.next(results)
        assert tasks[-2] == "closing"
        assert tasks.count("closing") == 1

    awaiting_way.go(main)
    assert len(set(tasks)) == 2


def test_lazy_ways_take_async_inputs_lazily(lazy_way):
    if lazy_way.blocks:
        pytest.skip("an async input needs an awaiting caller")
    taken = []

    async def numbers():
        for x in itertools.count():
            taken.append(x)
            yield x

    async def ask(x):
        return x

    async def main():
        async with lazy_way.opened(lazy_way.start(lazy_way.decorate(ask, max_concurrency=2), numbers())) as results:
            for consumed in range(1, 40):
                await lazy_way.next(results)
                assert len(taken) <= consumed + (WINDOW + 1) * 2
            await lazy_way.rest(0.005)

    lazy_way.go(main)


def test_results_that_nobody_begins_do_nothing(lazy_way):
    def never():
        raise AssertionError
        yield

    async def ask(x):
        raise AssertionError

    async def main():
        results = lazy_way.start(lazy_way.decorate(ask), never())
        assert repr(results).endswith(f"ask.{lazy_way.method}: not begun>") or "not begun" in repr(results)
        assert results.stats.taken == 0

    lazy_way.go(main)


def test_results_are_iterated_as_they_were_begun():
    ask = parallel_map(lambda x: x)
    results = ask.imap(range(9))
    assert next(results) == 0

    async def main():
        with pytest.raises(
            RuntimeError, match=r"is already being read with next\(\); it cannot also be read with async for"
        ):
            await anext(results)
        other = ask.imap(range(9))
        assert await anext(other) == 0
        with pytest.raises(
            RuntimeError, match=r"is already being read with anext\(\); it cannot also be read with for"
        ):
            next(other)
        await other.aclose()

    asyncio.run(main())
    assert list(results) == list(range(1, 9))


def test_on_trio_results_want_a_block():
    ask = parallel_map(lambda x: x)

    async def main():
        with pytest.raises(RuntimeError, match="`async with ... as results:`"):
            await anext(ask.imap(range(9)))

    trio.run(main)


def test_stats_count_at_any_time(lazy_way, gates):
    held = gates()

    async def ask(x):
        if x >= 4:
            await held.passed()
        if x == 1:
            raise Broke
        return x

    async def main():
        results = lazy_way.start(lazy_way.decorate(ask, max_concurrency=3), list(range(10)), return_exceptions=True)
        assert (results.stats.total, results.stats.taken, results.stats.done) in [(None, 0, 0), (10, 0, 0)]
        async with lazy_way.opened(results):
            for _ in range(4):
                await lazy_way.next(results)
            await lazy_way.until(lambda: results.stats.in_flight == 3)
            stats = results.stats
            assert (stats.total, stats.taken, stats.done, stats.failed, stats.in_flight) == (10, 7, 4, 1, 3)
            held.open()
            while True:
                try:
                    await lazy_way.next(results)
                except StopAsyncIteration:
                    break
            stats = results.stats
            assert (stats.taken, stats.done, stats.in_flight, stats.waiting) == (10, 10, 0, 0)
            assert (stats.attempts, stats.refused, stats.abandoned) == (10, 0, 0)

    lazy_way.go(main)


# Cancellation


def test_a_cancelled_await_cancels_the_run_and_tells_what_had_finished(awaiting_way, gates):
    held, reached, begun, ended = gates(), gates(), [], []

    async def ask(x):
        if x < 3:
            return x
        begun.append(x)
        if len(begun) == 2:  # whoever takes the next item has handed in the one before: the first three have ended
            reached.open()
        try:
            await held.passed()
        finally:
            ended.append(x)
        return x

    ask = awaiting_way.decorate(ask, max_concurrency=2)

    async def main():
        found = []

        async def consume():
            try:
                await awaiting_way.collect(ask, range(50))
            except BaseException as error:
                found.append(partial_results(error))
                raise

        if awaiting_way.place == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consume)
                await awaiting_way.until(reached.is_open)
                nursery.cancel_scope.cancel()
        else:
            task = asyncio.create_task(consume())
            await awaiting_way.until(reached.is_open)
            task.cancel("please")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert len(asyncio.all_tasks()) == 1
        if awaiting_way.is_async:
            assert sorted(ended) == [3, 4]
        if not awaiting_way.is_lazy:
            assert found == [{0: 0, 1: 1, 2: 2}]

    awaiting_way.go(main)


def test_what_an_asyncio_timeout_cut_is_told_by_the_chain():
    @parallel_map(max_concurrency=2)
    async def ask(x):
        if x > 2:
            await asyncio.sleep(1000)
        return x

    async def main():
        async with asyncio.timeout(0.02):
            await ask.amap(range(10))

    with VirtualTime() as virtual, pytest.raises(TimeoutError) as raised:
        virtual.run(main())
    assert partial_results(raised.value) == {0: 0, 1: 1, 2: 2}


# Context variables


variable = contextvars.ContextVar("variable", default="unset")
other_variable = contextvars.ContextVar("other_variable", default=None)


def test_items_see_the_callers_context_and_not_each_others(way):
    async def ask(x):
        seen = variable.get()
        variable.set(f"item {x}")
        if x % 2:
            other_variable.set(x)
        await way.pause(0)
        assert variable.get() == f"item {x}"
        return seen, (other_variable.get() if x % 2 else None)

    async def main():
        token = variable.set("caller")
        try:
            return await way.collect(way.decorate(ask, max_concurrency=2), iter(range(12)))
        finally:
            assert variable.get() == "caller"
            assert other_variable.get() is None
            variable.reset(token)

    assert way.go(main) == [("caller", x if x % 2 else None) for x in range(12)]


def test_an_item_that_fails_leaves_no_context_either(way):
    async def ask(x):
        seen = variable.get()
        variable.set("mine")
        if x % 2:
            raise Broke(seen)
        return seen

    found = way.run(way.decorate(ask, max_concurrency=1), range(6), return_exceptions=True)
    assert [one if isinstance(one, str) else one.args[0] for one in found] == ["unset"] * 6


class Incomparable:
    def __eq__(self, other):
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None


def test_context_values_that_cannot_be_compared_are_isolated_too(way):
    async def ask(x):
        seen = variable.get()
        variable.set(Incomparable())
        return seen

    async def main():
        token = variable.set(Incomparable())
        try:
            return variable.get(), await way.collect(way.decorate(ask, max_concurrency=1), range(4))
        finally:
            variable.reset(token)

    outer, found = way.go(main)
    assert all(one is outer for one in found)


def test_a_result_is_not_lost_when_its_run_is_cancelled_on_the_way_to_a_new_context():
    async def main():
        caller = asyncio.current_task()

        @parallel_map(max_concurrency=1)
        async def ask(x):
            variable.set(x)  # so that the next item needs a new task, which also reports this one's result
            if x == 2:
                asyncio.get_running_loop().call_soon(caller.cancel)
            return x

        await ask.amap(range(9))

    with pytest.raises(asyncio.CancelledError) as raised:
        asyncio.run(main())
    assert partial_results(raised.value) == {0: 0, 1: 1, 2: 2}


def test_a_result_is_not_lost_when_its_run_is_cancelled_on_the_way_to_a_new_context_on_trio():
    found = []

    @parallel_map(max_concurrency=1)
    async def ask(x):
        if x == 2:
            outer.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(0.001)
        variable.set(x)
        return x

    async def main():
        nonlocal outer
        with trio.CancelScope() as outer:
            try:
                await ask.amap(range(9))
            except trio.Cancelled as error:
                found.append(partial_results(error))
                raise

    outer = None
    trio.run(main)
    assert found == [{0: 0, 1: 1, 2: 2}]


# What is left


class Tracked:
    pass


class Failure(Exception):
    pass


async def dies(way, references):
    """Without the collector: by reference counts alone, in whatever thread the last one is."""
    await way.until(lambda: not any(one() for one in references))
    return [one() for one in references] == [None] * len(references)


def test_neither_the_exception_nor_the_items_of_a_failed_run_need_the_collector(strict_way, no_collector):
    async def ask(item):
        await strict_way.pause(0)
        raise Failure

    async def main():
        items = [Tracked() for _ in range(6)]
        alive = [weakref.ref(item) for item in items]
        try:
            await strict_way.collect(strict_way.decorate(ask, max_concurrency=2), items)
        except Failure as error:
            alive.append(weakref.ref(error))
        del items
        assert len(alive) == 7
        assert await dies(strict_way, alive)

    with no_collector():
        strict_way.go(main)


@pytest.mark.parametrize("keep", [False, True], ids=["all fine", "return_exceptions"])
def test_results_and_items_need_no_collector(way, keep, no_collector):
    alive = []

    async def ask(item):
        answer = Failure() if keep else Tracked()
        alive.append(weakref.ref(answer))
        if not keep:
            return answer
        try:
            raise answer
        finally:
            del answer

    async def main():
        items = [Tracked() for _ in range(6)]
        alive.extend(map(weakref.ref, items))
        await way.collect(way.decorate(ask, max_concurrency=2), items, return_exceptions=keep)
        del items
        assert len(alive) == 12
        assert await dies(way, alive)

    with no_collector():
        way.go(main)


ENDS = ["to its end", "failure", "deadline", "input broke", "kept"]


@pytest.mark.parametrize("end", ENDS)
def test_a_run_leaves_no_cycle(way, end, cycles):
    async def ask(x):
        await way.pause(0)
        if end in ("failure", "kept") and x == 3:
            raise Failure
        if end == "deadline" and x > 3:
            await way.pause(0.01)
        return x

    ask = way.decorate(ask, max_concurrency=2)

    def inputs():
        yield from range(6)
        if end == "input broke":
            raise Failure

    async def body():
        try:
            await way.collect(
                ask, inputs(), return_exceptions=end == "kept", deadline=0.005 if end == "deadline" else None
            )
        except (Failure, DeadlineExceeded):
            pass
        if end == "deadline" and not way.is_async:
            await way.quiet()  # until the abandoned thread is back
        await way.rest()

    assert way.go(lambda: cycles(body)) == []


def test_warm_threads_are_used_again():
    ask = parallel_map(lambda x: threading.get_ident(), max_concurrency=4)
    before = {thread.name for thread in threading.enumerate()}
    del before
    seen = set()
    for _ in range(50):
        seen |= set(ask.map(range(8)))
    assert len(seen) <= 16
