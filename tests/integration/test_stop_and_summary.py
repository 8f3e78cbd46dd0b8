"""`.stop()` on what imap and as_completed return, and the summary of a run."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import tenacity

from fanmap import NotRun, Retry, parallel_map
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep
from fanmap.types import Summary, Usage


def ended(way, results):
    """The indices of what was handed out."""
    return [result.index if way.method == "as_completed" else result for result in results]


def test_calls_under_way_end_nothing_else_starts_and_what_finished_is_handed_out(lazy_way, gates):
    started, handed, gate = [], [], gates()

    async def ask(item):
        started.append(item)
        if item >= 2:
            await gate.passed()
        return item

    asking = lazy_way.decorate(ask, max_concurrency=4)

    async def main():
        async with lazy_way.opened(lazy_way.start(asking, range(100))) as results:
            handed.extend([await lazy_way.next(results), await lazy_way.next(results)])
            await lazy_way.until(lambda: len(started) >= 6)
            results.stop()
            before = len(started)  # all four are under way
            gate.open()
            handed.extend([result async for result in lazy_way.each(results)])
            assert len(started) == before
            results.stop()  # again: nothing

    lazy_way.go(main)
    assert sorted(ended(lazy_way, handed)) == sorted(started)
    assert len(started) == 6


def test_imap_ends_before_the_first_item_without_a_result():
    """Results pair with inputs by their place; as_completed hands out the rest as well."""
    with VirtualTime() as virtual:
        for method, expected in (("imap", [0, 1]), ("as_completed", [0, 1, 3, 4])):
            started = virtual.now()

            def ask(item):
                sleep(1.0)
                if item == 2:
                    raise ConnectionError
                return item

            # Item 2 is between two attempts when the run is stopped: it is not tried again.
            asking = parallel_map(max_concurrency=5, retry=Retry(wait=tenacity.wait_fixed(100)))(ask)
            results = getattr(asking, method)(range(5))
            found = [next(results)]
            results.stop()
            found += results
            assert (
                sorted(getattr(one, "index", one) for one in found if getattr(one, "error", None) is None) == expected
            )
            assert virtual.now() < started + 50


def test_with_return_exceptions_not_run_stands_for_what_never_started(lazy_way):
    async def ask(item):
        await lazy_way.pause()
        return item

    asking = lazy_way.decorate(ask, max_concurrency=2)

    async def main():
        found = []
        async with lazy_way.opened(lazy_way.start(asking, range(200), return_exceptions=True)) as results:
            async for result in lazy_way.each(results):
                found.append(result)
                if len(found) == 3:
                    results.stop()
            return found, results.summary

    found, summary = lazy_way.go(main)
    errors = [getattr(result, "error", result) for result in found]
    left = [error for error in errors if isinstance(error, NotRun)]
    assert len(found) == 200
    assert len(left) >= 150
    assert str(left[-1]) == "the run was stopped by stop() before this item started"
    assert left[-1].__cause__ is None
    assert summary.failed == {"NotRun": len(left)}
    assert str(summary).startswith(f"{200 - len(left)} answered, 0 resumed, 0 failed, {len(left)} not run\n")


def test_stop_from_another_thread_wakes_a_consumer_that_waits(lazy_way, gates):
    gate = gates()

    async def ask(item):
        if item:
            await gate.passed()
        return item

    asking = lazy_way.decorate(ask, max_concurrency=3)

    async def main():
        async with lazy_way.opened(lazy_way.start(asking, range(100))) as results:
            first = await lazy_way.next(results)

            def stop():
                results.stop()
                gate.open()

            thread = threading.Thread(target=stop)
            thread.start()
            rest = [result async for result in lazy_way.each(results)]
            thread.join()
            return ended(lazy_way, [first, *rest])

    assert len(lazy_way.go(main)) <= 6


def test_stop_ends_a_run_that_waits_for_a_rate_or_for_its_input():
    with VirtualTime() as virtual:
        asking = parallel_map(rpm=1)(lambda item: item)
        results = asking.imap(iter(range(10)))
        assert next(results) == 0
        virtual.start(lambda: (sleep(5.0), results.stop()))
        assert list(results) == []
        assert virtual.now() == 5.0


def test_stop_before_the_beginning_means_that_nothing_is_called(lazy_way):
    called = []

    async def ask(item):
        called.append(item)

    results = lazy_way.start(lazy_way.decorate(ask), range(5))
    results.stop()

    async def main():
        if lazy_way.place == "trio":
            return []
        return [result async for result in lazy_way.each(results)]

    assert lazy_way.go(main) == called == []
    assert results.summary == Summary(0, {}, 0, 0, 0, 0.0, 0.0, (), Usage(), 0.0)


def test_leaving_after_stop_does_not_wait_for_threads(gates):
    gate = gates()

    def ask(item):
        if item:
            gate._event.wait(120)
        return item

    results = parallel_map(max_concurrency=2)(ask).imap(range(5))
    next(results)
    results.stop()
    results.close()  # returns at once, as without a stop
    assert not gate._event.is_set()
    gate.open()


# The summary


def test_a_summary_tells_what_the_run_came_to():
    failing = {3: ValueError("no"), 4: KeyError("no"), 5: ValueError("no")}
    refused = []

    def ask(item):
        sleep(float(item + 1))
        if item == 7 and not refused:
            refused.append(item)
            raise SimulatedAPIError("wait", 429, {"retry-after": "1"}, {})
        if item in failing:
            raise failing[item]
        return SimpleNamespace(usage={"total_tokens": 10}) if item < 2 else f"text {item}"

    with VirtualTime():
        results = parallel_map(max_concurrency=8)(ask).as_completed(range(8))
        assert len(list(results)) == 8
        summary = results.summary
    assert (summary.done, summary.failed) == (8, {"ValueError": 2, "KeyError": 1})
    assert (summary.attempts, summary.refused, summary.resumed) == (8, 1, 0)
    assert [index for index, _ in summary.slowest] == [7, 6, 5, 4, 3]
    assert [seconds for _, seconds in summary.slowest] == pytest.approx([8.0, 7.0, 6.0, 5.0, 4.0])
    assert summary.tokens == Usage(20)
    assert summary.seconds >= 17.0
    assert summary.speedup == pytest.approx(36.0 / summary.seconds)
    lines = str(summary).splitlines()
    assert lines[0] == "5 answered, 0 resumed, 3 failed (2 ValueError, 1 KeyError)"
    assert lines[1].startswith("8 attempts, 1 refused, in 17.")
    assert lines[2:] == [
        "slowest: item 7 8.0 s, item 6 7.0 s, item 5 6.0 s, item 4 5.0 s, item 3 4.0 s",
        "20 tokens: 20 in, 0 out",
    ]


def test_one_attempt_is_said_in_the_singular():
    results = parallel_map(lambda item: item).imap([1])
    assert list(results) == [1]
    assert str(results.summary).splitlines()[1].startswith("1 attempt, 0 refused, in ")


def test_a_summary_of_many_workers_has_the_slowest_of_all(lazy_way):
    """Each worker keeps its own five."""
    asking = parallel_map(max_concurrency=3)(lambda item: sleep(0.5 + item % 7) or item)
    with VirtualTime():
        results = asking.imap(range(40))
        assert list(results) == list(range(40))
        summary = results.summary
        assert [seconds for _, seconds in summary.slowest] == [6.5] * 5
        assert summary.seconds == results.summary.seconds
        sleep(10.0)
        assert summary.seconds == results.summary.seconds  # the run is over
    assert all(index % 7 == 6 for index, _ in summary.slowest)


def test_a_summary_may_be_asked_for_while_the_run_goes_on():
    with VirtualTime():
        results = parallel_map(max_concurrency=2)(lambda item: sleep(1.0) or item).imap(range(10))
        assert [next(results), next(results)] == [0, 1]
        assert results.summary.done == 2
        assert results.summary.seconds == 1.0
        assert results.summary.speedup == 2.0
        results.close()
