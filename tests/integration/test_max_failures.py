"""`max_failures=k`: the k-th failure stops the run as `.stop()` does, and nothing is raised."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from fanmap import NotRun, Retry, TooManyFailures, parallel_map
from fanmap._policy.runs.as_completed import AsCompleted
from fanmap._policy.runs.effects import END, State
from fanmap._policy.runs.flow import Flow
from fanmap._policy.runs.in_list import InList
from fanmap._policy.runs.inputs import InputBuffer

pytestmark = pytest.mark.usefixtures("nothing_left")


class Broken(Exception):
    pass


def values_of(kept):
    return [value if not isinstance(value, BaseException) else type(value) for value in kept]


def asked(way, answer, **options):
    return way.decorate(answer, max_concurrency=1, **options)


def test_the_kth_failure_stops_the_run_and_nothing_is_raised(way):
    called = []

    async def ask(x):
        called.append(x)
        if x in (1, 3):
            raise Broken
        if x == 5:
            raise KeyError(x)
        return x * 10

    kept = way.run(asked(way, ask), range(9), return_exceptions=True, max_failures=3)
    assert called == [0, 1, 2, 3, 4, 5]
    assert values_of(kept) == [0, Broken, 20, Broken, 40, KeyError, NotRun, NotRun, NotRun]
    for one in kept[6:]:
        assert str(one) == "the run was stopped by TooManyFailures before this item started"
        reason = one.__cause__
        assert type(reason) is TooManyFailures
        assert (reason.failures, dict(reason.kinds)) == (3, {"Broken": 2, "KeyError": 1})
        assert str(reason) == "3 items failed: 2 Broken, 1 KeyError"


def test_fewer_failures_than_that_stop_nothing(way):
    async def ask(x):
        if x % 2:
            raise Broken
        return x

    kept = way.run(asked(way, ask), range(6), return_exceptions=True, max_failures=4)
    assert values_of(kept) == [0, Broken, 2, Broken, 4, Broken]


def test_as_completed_has_it_without_return_exceptions_too():
    @parallel_map(max_concurrency=1)
    def ask(x):
        raise Broken

    outcomes = list(ask.as_completed(range(5), max_failures=2))
    assert [type(one.error) for one in outcomes] == [Broken, Broken, NotRun, NotRun, NotRun]
    assert [one.index for one in outcomes] == [0, 1, 2, 3, 4]
    assert outcomes[-1].seconds == 0.0


def test_of_an_iterator_only_what_was_taken_gets_an_outcome(way):
    def endless():
        x = 0
        while True:
            yield x
            x += 1

    async def ask(x):
        raise Broken

    kept = way.run(asked(way, ask), endless(), return_exceptions=True, max_failures=2)
    assert values_of(kept)[:2] == [Broken, Broken]
    assert set(values_of(kept)[2:]) <= {NotRun}


def test_calls_under_way_end_and_are_kept(way, gates, monkeypatch):
    gate, begun, stop = gates(), gates(), Flow.stop

    def stopped(self, reason, **how):
        stop(self, reason, **how)
        gate.open()  # only now: a call that ends before the second failure is counted has another one after it

    async def ask(x):
        if x == 0:
            begun.open()
            await gate.passed()
            return "kept"
        await begun.passed()
        raise Broken

    monkeypatch.setattr(Flow, "stop", stopped)

    ask = way.decorate(ask, max_concurrency=2)
    kept = way.run(ask, range(6), return_exceptions=True, max_failures=2)
    assert values_of(kept) == ["kept", Broken, Broken, NotRun, NotRun, NotRun]


def test_what_is_repeated_counts_once_its_attempts_have_run_out(way):
    called = []

    async def ask(x):
        called.append(x)
        raise Broken

    ask = asked(way, ask, retry=Retry(2, on=Broken, wait=0))
    kept = way.run(ask, range(4), return_exceptions=True, max_failures=2)
    assert called == [0, 0, 1, 1]
    assert values_of(kept) == [Broken, Broken, NotRun, NotRun]


def test_the_same_line_goes_on_with_a_journal(tmp_path):
    broken = True
    called = []

    @parallel_map(max_concurrency=1)
    def ask(x):
        called.append(x)
        if broken and x % 2:
            raise Broken
        return x

    def run():
        return ask.map(range(6), resume=tmp_path / "journal", return_exceptions=True, max_failures=2)

    assert values_of(run()) == [0, Broken, 2, Broken, NotRun, NotRun]
    broken = False
    called.clear()
    assert run() == list(range(6))
    assert called == [1, 3, 4, 5]


def test_it_is_an_int_of_at_least_1_and_needs_failures_that_do_not_end_the_run():
    ask = parallel_map(abs)

    async def amap(*args, **options):
        return await ask.amap(*args, **options)

    for run in (ask.map, ask.imap, lambda *args, **options: asyncio.run(amap(*args, **options))):
        with pytest.raises(TypeError, match="max_failures needs return_exceptions=True, because without it the first"):
            run([1], max_failures=3)
        for wrong, kind, message in (
            (0, ValueError, "max_failures must be >= 1, got 0"),
            (2.0, TypeError, "max_failures must be an int >= 1, got 2.0"),
            (True, TypeError, "max_failures must be an int >= 1, got True"),
        ):
            with pytest.raises(kind, match=message):
                run([1], max_failures=wrong, return_exceptions=True)
            with pytest.raises(kind, match=message):
                ask.as_completed([1], max_failures=wrong)


def test_the_reason_is_pickled_with_its_numbers():
    reason = pickle.loads(pickle.dumps(TooManyFailures(2, {"Broken": 2})))
    assert (reason.failures, reason.kinds, str(reason)) == (2, {"Broken": 2}, "2 items failed: 2 Broken")
    assert str(TooManyFailures(1, {"Broken": 1})) == "1 item failed: 1 Broken"


# The decision alone


class Ceiling:
    limit = 8


class Worker:
    index = 0
    retiring = False

    def begun(self):
        return False

    def timings(self):
        return (0, 0.0, 0.0)


def record(index, error=None):
    return (index, None, error, 1, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("results", [InList(stop_on_failure=False), AsCompleted(64)], ids=["list", "as completed"])
def test_the_flow_drains_with_the_kth_failure_and_not_before(results):
    flow = Flow(InputBuffer(range(9), 4), results, [], most=4, hiring=Ceiling(), max_failures=2)
    workers = [Worker() for _ in range(3)]
    assert [flow.take(worker, 0.0)[0] for worker in workers] == [0, 1, 2]
    assert flow.complete(record(1, Broken()), workers[1])[0] == 3
    assert flow.state is State.RUNNING
    assert flow.complete(record(0), workers[0])[0] == 4
    assert flow.complete(record(2, KeyError()), workers[2]) is END
    assert flow.state is State.DRAINING
    reason = flow.reason
    assert (reason.failures, dict(reason.kinds)) == (2, {"Broken": 1, "KeyError": 1})
    assert flow.complete(record(3, Broken()), workers[1]) is END  # one more on the way out changes nothing
    assert flow.reason is reason
    assert (reason.failures, flow.results.failed) == (2, 3)
