"""What a server's refusals do to everybody under one Limits: threads, asyncio, trio and direct calls, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
import warnings
from itertools import pairwise
from types import SimpleNamespace

import anyio
import pytest
import tenacity

from fanmap import Adaptive, DeadlineExceeded, Limits, NotRun, Rate, Retry, Verdict, gather_bounded, parallel_map
from fanmap._drive import clock
from fanmap._drive.books import BUSY, Books
from fanmap._drive.limits.limits import budget_of
from fanmap._policy.limits.permit import RUNNING, Permit
from fanmap.testing import Reply, SimulatedAPIError, VirtualTime, serve, sleep
from fanmap.testing._behaviour import Bucket


def refusal(status=429, *, wait=None, code="rate_limit_exceeded", text="slow down", **headers):
    """What a client raises of such a reply."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    if wait is not None:
        said["retry-after"] = str(wait)
    return SimulatedAPIError(text, status, said, {"message": text, "type": "requests", "code": code})


def spent():
    return refusal(code="insufficient_quota", text="You exceeded your current quota")


class Provider:
    """Asks `decide(number, item)` about each call that arrives: seconds that it takes, and an error or None."""

    def __init__(self, decide):
        self._decide = decide
        self.starts = []
        self.in_flight = self.most = 0

    def __call__(self, item):
        seconds, error = self._arrive(item)
        try:
            sleep(seconds)
        finally:
            self.in_flight -= 1
        if error is not None:
            raise error
        return item

    async def acall(self, item):
        seconds, error = self._arrive(item)
        try:
            await anyio.sleep(seconds)
        finally:
            self.in_flight -= 1
        if error is not None:
            raise error
        return item

    def _arrive(self, item):
        number = len(self.starts)
        self.starts.append(clock.now())
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        return self._decide(number, item)

    def starts_within(self, begin, end):
        return [start for start in self.starts if begin < start < end]


def latency(item):
    return 0.1 + item % 7 / 20


def by_threads(virtual, provider, items, options, **run):
    return parallel_map(**options)(provider.__call__).map(items, **run)


def by_asyncio(virtual, provider, items, options, **run):
    return virtual.run(parallel_map(**options)(provider.acall).amap(items, **run))


def by_trio(virtual, provider, items, options, **run):
    async def main():
        return await parallel_map(**options)(provider.acall).amap(items, **run)

    return virtual.run_trio(main)


def by_background_loop(virtual, provider, items, options, **run):
    return parallel_map(**options)(provider.acall).map(items, **run)


RUNS = {"threads": by_threads, "asyncio": by_asyncio, "trio": by_trio, "background loop": by_background_loop}


@pytest.fixture(params=RUNS)
def run_by(request):
    return RUNS[request.param]


def by_direct_calls(virtual, provider, items, options):
    """Each in a thread of its own."""
    ask = parallel_map(**options)(provider.__call__)
    found = {}

    def one(item):
        try:
            found[item] = ask(item)
        except Exception as error:
            found[item] = error

    for thread in [virtual.start(one, item) for item in items]:
        virtual.join(thread)
    return [found[item] for item in items]


def together(virtual, provider, items, options):
    """A quarter each by threads, asyncio, trio and direct calls, all at once under the same Limits."""
    found = []
    ways = (by_threads, by_asyncio, by_trio, by_direct_calls)
    threads = [
        virtual.start(
            lambda way=way, part=items[place::4]: found.extend(way(virtual, provider, part, options)), name=way.__name__
        )
        for place, way in enumerate(ways)
    ]
    for thread in threads:
        virtual.join(thread)
    return sorted(found)


# One call is told to wait


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("run", [*RUNS.values(), together], ids=[*RUNS, "together"])
def test_one_429_with_a_retry_after_holds_everybody_for_exactly_as_long_and_loses_nobody(run, seed):
    told = []

    def decide(number, item):
        if number == 20 + seed:
            told.append(clock.now())
            return 0.0, refusal(wait=2)
        return latency(item), None

    provider = Provider(decide)
    limits = Limits(16)
    with VirtualTime(seed=seed) as virtual:
        assert run(virtual, provider, list(range(80)), {"limits": limits}) == list(range(80))
    [when] = told
    assert provider.starts_within(when, when + 2) == []
    assert len(provider.starts) == 81
    # Then one set of starts is spread over a second; so the crowd does not come back at once.
    after = [start for start in provider.starts if start > when][:16]
    assert after[0] == pytest.approx(when + 2)
    assert all(later - earlier >= 1 / 16 - 1e-9 for earlier, later in pairwise(after))
    stats = limits.stats
    assert (stats.started, stats.refused, stats.attempts, stats.failed) == (81, 1, 80, 0)
    assert stats.waited_at_gate > 2


def test_a_refusal_out_of_a_with_block_holds_everybody_too():
    limits = Limits(4)
    provider = Provider(lambda number, item: (0.1, None))
    with VirtualTime():
        with pytest.raises(SimulatedAPIError), limits:
            raise refusal(wait=5)
        parallel_map(limits=limits)(provider.__call__).map([1, 2])
    assert provider.starts[0] == 5.0


def test_with_retry_false_a_refused_item_fails_and_its_wait_still_holds_everybody(run_by):
    provider = Provider(lambda number, item: (0.0, refusal(wait=3)) if number == 0 else (0.1, None))
    with VirtualTime() as virtual:
        options = {"max_concurrency": 2, "retry": False}
        first, *others = run_by(virtual, provider, list(range(6)), options, return_exceptions=True)
        assert isinstance(first, SimulatedAPIError)
        assert others == [1, 2, 3, 4, 5]
    assert len(provider.starts) == 6
    assert provider.starts_within(0.0, 3.0) == []


def test_should_not_retry_fails_the_item_and_its_wait_still_holds_everybody(run_by):
    no = refusal(wait=3, x_should_retry="false")
    provider = Provider(lambda number, item: (0.0, no) if number == 0 else (0.1, None))
    with VirtualTime() as virtual:
        options = {"max_concurrency": 2, "retry": Retry()}
        first, *others = run_by(virtual, provider, list(range(6)), options, return_exceptions=True)
        assert first is no
        assert others == [1, 2, 3, 4, 5]
    assert provider.starts_within(0.0, 3.0) == []


def test_refusals_are_no_attempts(run_by):
    def decide(number, item):
        return (0.0, refusal(wait=1)) if number < 5 else (0.1, None)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        assert run_by(virtual, provider, [0], {"retry": Retry(attempts=1)}) == [0]
    assert len(provider.starts) == 6


def test_a_crowd_refused_as_too_many_is_cut_and_the_gate_stays_open():
    def decide(number, item):
        if provider.in_flight > 4:
            return 0.0, refusal(code="concurrent_request_limit_exceeded")
        return 1.0, None

    provider = Provider(decide)
    limits = Limits(16)
    with VirtualTime() as virtual:
        assert by_asyncio(virtual, provider, range(60), {"limits": limits}) == list(range(60))
        assert virtual.now() < 60 / 4 + 6
    assert {change.why for change in limits.history} == {"refused", "answered"}
    assert limits.history[0].before == 16
    assert limits.stats.refused < 24  # the first twelve, and then one a probe


def test_a_server_that_refuses_everything_and_says_nothing_is_asked_ever_less_often(run_by):
    begin, end = 5.0, 65.0

    def decide(number, item):
        return (0.02, refusal()) if begin <= clock.now() < end else (1.0, None)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        assert run_by(virtual, provider, list(range(200)), {"limits": Limits(16)}) == list(range(200))
    refused = provider.starts_within(begin, end)
    assert 16 <= len(refused) <= 60
    assert len([start for start in refused if start > begin + 10]) <= 12


@pytest.mark.parametrize(("kind", "closes"), [("rate", True), ("concurrency", False)])
def test_from_the_second_round_the_gate_closes_unless_fewer_at_once_is_the_answer(kind, closes):
    budget = budget_of(Limits(8))
    with VirtualTime() as virtual:
        seats = [Permit() for _ in range(8)]
        for seat in seats:
            budget.join(seat, None)
        assert all(seat.state == RUNNING for seat in seats)
        for seat in seats[:2]:
            assert budget.refused(Verdict(kind), seat, virtual.now()).gate is None
            budget.release(seat)
        virtual.sleep(0.6)
        assert (budget.refused(Verdict(kind), seats[2], virtual.now()).gate is not None) is closes


# An account without credit


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_spent_account_costs_no_more_calls_than_were_running(run_by, workers):
    provider = Provider(lambda number, item: (0.3, spent()))
    with VirtualTime() as virtual:
        options = {"max_concurrency": workers, "retry": Retry()}
        found = run_by(virtual, provider, list(range(20)), options, return_exceptions=True)
    assert len(provider.starts) <= workers
    own = [error for error in found if isinstance(error, SimulatedAPIError)]
    others = [error for error in found if isinstance(error, NotRun)]
    assert len(own) + len(others) == 20
    assert len(own) == len(provider.starts)
    for error in others:
        assert error.__cause__ in own
        assert str(error) == "the run was stopped by SimulatedAPIError before this item started"


def test_as_completed_names_the_reason_for_what_a_spent_account_left_undone():
    provider = Provider(lambda number, item: (0.3, spent()))
    ask = parallel_map(max_concurrency=4)(provider.__call__)
    with VirtualTime():
        outcomes = sorted(ask.as_completed(list(range(20))), key=lambda outcome: outcome.index)
    assert len(provider.starts) <= 4
    assert [outcome.attempts for outcome in outcomes] == [1] * 4 + [0] * 16
    assert all(isinstance(outcome.error.__cause__, SimulatedAPIError) for outcome in outcomes[4:])


def test_without_return_exceptions_a_spent_account_is_the_functions_own_exception(run_by):
    provider = Provider(lambda number, item: (0.3, spent()))
    with VirtualTime() as virtual, pytest.raises(SimulatedAPIError, match="You exceeded your current quota"):
        run_by(virtual, provider, list(range(20)), {"max_concurrency": 4})
    assert len(provider.starts) <= 4


def test_a_direct_call_raises_its_own_exception():
    provider = Provider(lambda number, item: (0.3, spent()))
    with VirtualTime() as virtual:
        found = by_direct_calls(virtual, provider, range(3), {"max_concurrency": 1})
    assert [type(error) for error in found] == [SimulatedAPIError] * 3
    assert len({id(error) for error in found}) == 3


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (403, "Your team has either used all available credits or reached its monthly spending limit."),
        (403, "Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys"),
        (412, "Account A is suspended, possibly due to reaching the monthly spending limit."),
        (429, "Too many tokens per day, please wait before trying again."),
    ],
)
def test_an_account_that_is_spent_in_words_only_stops_the_run_at_once_half_way_too(run_by, status, text):
    def decide(number, item):
        return 0.1, None if item < 100 else refusal(status, code=None, text=text)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        found = run_by(virtual, provider, list(range(1000)), {"max_concurrency": 4}, return_exceptions=True)
        assert virtual.now() < 3
    assert found[:100] == list(range(100))
    assert len(provider.starts) <= 100 + 4
    assert sum(isinstance(error, NotRun) for error in found) >= 896


# A key that is denied


@pytest.mark.parametrize("status", [401, 403])
def test_when_the_first_eight_are_all_denied_it_is_the_key_and_the_run_stops(run_by, status):
    provider = Provider(lambda number, item: (0.1, refusal(status, code="invalid_api_key")))
    with VirtualTime() as virtual:
        found = run_by(virtual, provider, list(range(100)), {"max_concurrency": 4}, return_exceptions=True)
    assert 8 <= len(provider.starts) <= 8 + 3
    assert sum(isinstance(error, NotRun) for error in found) == 100 - len(provider.starts)


def test_with_a_success_between_a_denial_is_its_items_own(run_by):
    def decide(number, item):
        return 0.1, None if item % 8 == 3 else refusal(403, code=None)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        found = run_by(virtual, provider, list(range(100)), {"max_concurrency": 1}, return_exceptions=True)
    assert len(provider.starts) == 100
    assert [result for result in found if isinstance(result, int)] == list(range(3, 100, 8))


@pytest.mark.parametrize("workers", [1, 4])
def test_a_key_that_is_withdrawn_half_way_stops_the_run(run_by, workers):
    def decide(number, item):
        return 0.1, None if item < 52 else refusal(403, code=None)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        found = run_by(virtual, provider, list(range(900)), {"max_concurrency": workers}, return_exceptions=True)
    assert found[:52] == list(range(52))
    assert 60 <= len(provider.starts) <= 60 + workers - 1
    assert sum(isinstance(error, NotRun) for error in found) == 900 - len(provider.starts)


# One item that is refused again and again


class Above(Exception):
    """What the server says of one prompt above the account's tokens a minute."""

    def __init__(self, text, wait=None):
        super().__init__("refused")
        self.status_code = 429
        self.body = {"message": text, "type": "tokens", "code": "rate_limit_exceeded"}
        self.headers = {} if wait is None else {"retry-after": str(wait)}


LIMITED = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 30601."


def test_one_prompt_above_the_whole_limit_is_sent_once_and_costs_the_others_nothing(run_by):
    def decide(number, item):
        return (0.1, Above(LIMITED)) if item == 3 else (1.0, None)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        found = run_by(virtual, provider, list(range(400)), {"max_concurrency": 8}, return_exceptions=True)
        assert virtual.now() <= 50 * 1.05
    assert len(provider.starts) == 400
    assert isinstance(found[3], Above)
    assert sum(isinstance(result, int) for result in found) == 399


@pytest.mark.parametrize("wait", [None, 2])
@pytest.mark.parametrize("retry", [None, pytest.param(Retry(), marks=pytest.mark.whole)])
def test_one_item_that_is_refused_for_ever_ends_by_its_own_clock_and_holds_nobody(run_by, wait, retry):
    tried, ends = [], {}

    def decide(number, item):
        if item == 3:
            tried.append(clock.now())
            return 0.1, Above("This request is too large for your tier.", wait)
        ends[item] = clock.now() + 1.0
        return 1.0, None

    provider = Provider(decide)
    with VirtualTime(seed=1) as virtual:
        found = run_by(
            virtual, provider, list(range(2000)), {"max_concurrency": 8, "retry": retry}, return_exceptions=True
        )
        assert virtual.now() <= 300 + 2
    assert max(ends.values()) <= 250 * 1.05
    assert sum(isinstance(result, int) for result in found) == 1999
    assert isinstance(found[3], Above)
    assert any("others were answered" in note for note in found[3].__notes__)
    assert 290 <= tried[-1] - tried[0] <= 300.1  # its clock began when its first refusal came
    assert len(tried) < 70


def test_one_item_that_is_told_to_wait_for_longer_than_anybody_wants_to_ends_at_once(run_by):
    tried = []

    def decide(number, item):
        if item == 3:
            tried.append(clock.now())
            return 0.1, Above("slow down", None if len(tried) <= 5 else 301)
        return 1.0, None

    provider = Provider(decide)
    with VirtualTime(seed=1) as virtual:
        found = run_by(virtual, provider, list(range(400)), {"max_concurrency": 4}, return_exceptions=True)
        assert virtual.now() <= 100 * 1.1
    assert [result for result in found if isinstance(result, int)] == [item for item in range(400) if item != 3]
    assert "the server asked to wait 301" in found[3].__notes__[0]
    assert len(tried) == 6


@pytest.mark.parametrize("wait", [None, 2])
def test_with_one_call_at_a_time_the_next_item_tells_that_it_is_the_item(run_by, wait):
    tried = []

    def decide(number, item):
        if item == 3:
            tried.append(clock.now())
            return 0.1, Above("This request is too large for your tier.", wait)
        return 0.5, None

    with VirtualTime(seed=1) as virtual:
        found = run_by(virtual, Provider(decide), list(range(400)), {"max_concurrency": 1}, return_exceptions=True)
        assert virtual.now() <= 330
    assert sum(isinstance(result, int) for result in found) == 399
    assert any("others were answered" in note for note in found[3].__notes__)
    assert 290 <= tried[-1] - tried[0] <= 300.1


def test_with_one_call_at_a_time_a_server_that_refuses_everything_still_ends_the_run(run_by):
    provider = Provider(lambda number, item: (0.1, Above("slow down")))
    with VirtualTime(seed=1) as virtual:
        found = run_by(virtual, provider, list(range(50)), {"max_concurrency": 1}, return_exceptions=True)
        assert 200 <= virtual.now() <= 420
    assert all(isinstance(result, (Above, NotRun)) for result in found)
    assert len(provider.starts) < 30


def test_where_nobody_is_answered_other_items_are_tried_and_the_run_stops(run_by):
    provider = Provider(lambda number, item: (0.1, Above("slow down")))
    with VirtualTime(seed=1) as virtual:
        limits = Limits(4, max_wait=60)
        found = run_by(virtual, provider, list(range(400)), {"limits": limits}, return_exceptions=True)
        assert virtual.now() <= 2 * 60
    assert not any(isinstance(result, int) for result in found)
    assert sum(isinstance(result, NotRun) for result in found) >= 350
    assert len(provider.starts) < 60


@pytest.mark.parametrize("wait", [None, 2.0])
@pytest.mark.parametrize(
    ("slots", "bad"), [(1, 4), *[pytest.param(*pair, marks=pytest.mark.whole) for pair in ((2, 5), (4, 4))], (16, 19)]
)
def test_items_that_are_refused_for_ever_lose_no_other_though_they_come_first_and_fill_every_slot(
    run_by, slots, bad, wait
):
    """Nobody was answered, so the same items were sent again until the run gave up, and none of the others was."""
    good = []

    def decide(number, item):
        if item < bad:
            return 0.1, refusal(wait=wait)
        good.append(item)
        return 0.5, None

    provider = Provider(decide)
    with VirtualTime(seed=1) as virtual:
        found = run_by(virtual, provider, list(range(60)), {"limits": Limits(slots)}, return_exceptions=True)
        assert virtual.now() <= 2 * 300
    assert found[bad:] == list(range(bad, 60))
    assert not any(isinstance(result, int) for result in found[:bad])
    assert sorted(good) == found[bad:]  # once each


def test_an_item_that_was_only_unlucky_comes_through_though_it_stood_back(run_by):
    tried = []

    def decide(number, item):
        if item == 3 and len(tried) < 6:
            tried.append(clock.now())
            return 0.1, Above("slow down")
        return 1.0, None

    provider = Provider(decide)
    with VirtualTime(seed=1) as virtual:
        found = run_by(virtual, provider, list(range(200)), {"max_concurrency": 4})
        assert virtual.now() <= 50 * 1.1
    assert found == list(range(200))
    assert len(tried) == 6


def test_a_direct_call_that_is_refused_for_ever_ends_by_its_own_clock():
    def decide(number, item):
        return (0.1, Above("slow down")) if item == 3 else (1.0, None)

    provider = Provider(decide)
    with VirtualTime(seed=1) as virtual:
        limits = Limits(4, max_wait=30)
        ask = parallel_map(limits=limits)(provider.__call__)
        ended = []

        def alone():
            try:
                ask(3)
            except Above as error:
                ended.append((virtual.now(), error))

        thread = virtual.start(alone)
        others = [item for item in range(200) if item != 3]
        assert ask.map(others) == others
        virtual.join(thread)
    assert len(ended) == 1
    assert 30 - 8 <= ended[0][0] <= 30.3  # the next pause would have been too long


# A server that keeps everybody waiting for too long


def test_one_wait_above_max_wait_stops_the_run_at_once(run_by):
    def decide(number, item):
        return (0.1, refusal(wait=301)) if number == 6 else (0.2, None)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        limits = Limits(4, max_wait=300)
        found = run_by(virtual, provider, list(range(40)), {"limits": limits}, return_exceptions=True)
        assert virtual.now() < 1
    assert [type(one) for one in found].count(SimulatedAPIError) == 1
    assert sum(isinstance(one, NotRun) for one in found) >= 28


def test_one_wait_above_max_wait_stops_the_run_whoever_has_the_books_at_that_moment(run_by, monkeypatch):
    """It was waited out where another thread, or code below this call, had them."""
    do, refused = Books.do, []

    def taken(self, event, *args):
        if event.__name__ == "_refused":
            refused.append(event)
            if len(refused) == 1:
                return BUSY  # whoever has them is told of it later
        return do(self, event, *args)

    monkeypatch.setattr(Books, "do", taken)
    provider = Provider(lambda number, item: (0.1, refusal(wait=301)) if number == 0 else (0.2, None))
    with VirtualTime() as virtual:
        limits = Limits(4, max_wait=300)
        found = run_by(virtual, provider, [0], {"limits": limits}, return_exceptions=True)
        assert virtual.now() < 1
    assert len(refused) == 2
    assert [type(one) for one in found] == [SimulatedAPIError]


def test_a_wait_of_exactly_max_wait_is_waited(run_by):
    provider = Provider(lambda number, item: (0.0, refusal(wait=300)) if number == 0 else (0.2, None))
    with VirtualTime() as virtual:
        assert run_by(virtual, provider, list(range(8)), {"limits": Limits(4)}) == list(range(8))
        assert virtual.now() > 300


def test_refusals_for_max_wait_without_a_success_stop_the_run(run_by):
    provider = Provider(lambda number, item: (0.01, refusal()))
    with VirtualTime() as virtual:
        limits = Limits(4, max_wait=300)
        found = run_by(virtual, provider, list(range(400)), {"limits": limits}, return_exceptions=True)
        assert 300 < virtual.now() < 300 + 60 + 1
    assert all(isinstance(one, (SimulatedAPIError, NotRun)) for one in found)
    assert sum(isinstance(one, NotRun) for one in found) >= 340
    assert len(provider.starts) < 60


def test_a_wait_that_is_too_long_stops_the_other_runs_and_calls_under_the_same_limits_too():
    limits = Limits(2, max_wait=60)
    provider = Provider(lambda number, item: (1.0, refusal(wait=3600)) if item == "bad" else (0.7, None))
    other = Provider(lambda number, item: (0.7, None))
    found = {}
    with VirtualTime() as virtual:

        def run_of_another_thread():
            found["run"] = by_threads(virtual, other, range(10), {"limits": limits}, return_exceptions=True)

        thread = virtual.start(run_of_another_thread)
        virtual.sleep(0.01)
        with pytest.raises(SimulatedAPIError):
            parallel_map(limits=limits)(provider.__call__).map(["bad"])
        virtual.join(thread)
        assert virtual.now() < 3
        reason = "the server asked to wait 359"
        with pytest.raises(NotRun, match=reason):
            parallel_map(limits=limits)(provider.__call__)(1)
        with pytest.raises(NotRun, match=reason), limits:
            raise AssertionError("the body of the block must not run")
        virtual.sleep(3700)
        assert parallel_map(limits=limits)(provider.__call__)(1) == 1
        assert limits.stats.waiting == limits.stats.in_flight == 0
    assert sum(isinstance(one, NotRun) for one in found["run"]) == 10 - len([s for s in other.starts if s < 60])


def test_a_run_that_begins_while_the_gate_is_closed_for_too_long_ends_at_once(run_by):
    limits = Limits(2, max_wait=60)
    provider = Provider(lambda number, item: (0.1, refusal(wait=3600)))
    with VirtualTime() as virtual:
        with pytest.raises(SimulatedAPIError):
            parallel_map(limits=limits)(provider.__call__)(0)
        found = run_by(virtual, provider, range(5), {"limits": limits}, return_exceptions=True)
        assert virtual.now() == pytest.approx(0.1)
    assert [type(one) for one in found] == [NotRun] * 5
    assert len(provider.starts) == 1


def test_a_run_long_after_one_that_was_stopped_begins_anew():
    limits = Limits(4, max_wait=60)
    broken = Provider(lambda number, item: (0.01, refusal()))
    provider = Provider(lambda number, item: (0.1, refusal()) if number == 0 else (0.1, None))
    with VirtualTime() as virtual:
        by_threads(virtual, broken, range(8), {"limits": limits}, return_exceptions=True)
        virtual.sleep(200)
        assert by_threads(virtual, provider, range(8), {"limits": limits}) == list(range(8))


# What an item that has been run ends with


def broken():
    return SimulatedAPIError("broken", 500, {}, {})


def ask_by(way, decide, **options):
    provider = Provider(decide)
    return provider, parallel_map(**options)(provider.__call__ if way == "threads" else provider.acall)


@pytest.mark.parametrize("way", ["threads", "asyncio"])
def test_an_item_that_has_been_run_is_never_not_run(way):
    """Neither where another item's refusal stops its run, nor where it meets the gate in another run."""
    limits = Limits(3, max_wait=60)
    decisions = {
        "fails": (0.1, broken()),
        "is refused": (0.1, refusal(wait=20)),
        "stops": (0.3, refusal(wait=3600)),
        "late": (0.1, None),
    }
    provider, ask = ask_by(way, lambda number, item: decisions[item], limits=limits, retry=Retry(3, wait=5.0))
    with VirtualTime():
        found = list(ask.as_completed(["fails", "is refused", "stops", "late"]))
        outcomes = {outcome.index: outcome for outcome in found}
    assert [type(outcomes[index].error) for index in range(4)] == [SimulatedAPIError] * 3 + [NotRun]
    assert [outcomes[index].error.message for index in range(3)] == ["broken", "slow down", "slow down"]
    assert [outcomes[index].attempts for index in range(4)] == [1, 0, 0, 0]
    assert outcomes[0].started < outcomes[0].ended
    assert len(provider.starts) == 3
    assert limits.stats.in_flight == limits.stats.waiting == 0


def test_an_item_in_flight_at_a_deadline_is_deadline_exceeded_also_where_the_run_had_stopped_before():
    decisions = {"stops": (0.1, spent()), "quick": (0.5, None), "slow": (60.0, None), "late": (0.1, None)}
    _, ask = ask_by("asyncio", lambda number, item: decisions[item], max_concurrency=3)

    async def main():
        items = ["stops", "quick", "slow", "late"]
        async with ask.as_completed(items, deadline=10.0, return_exceptions=True) as results:
            return {outcome.index: outcome async for outcome in results}

    with VirtualTime() as virtual:
        found = virtual.run(main())
    assert [type(found[index].error) for index in range(4)] == [
        SimulatedAPIError, type(None), DeadlineExceeded, NotRun,
    ]  # fmt: skip
    assert (found[2].attempts, found[2].started, found[2].ended) == (1, 0.0, 10.0)
    assert isinstance(found[2].error.__cause__, DeadlineExceeded)
    assert isinstance(found[3].error.__cause__, SimulatedAPIError)
    assert found[3].attempts == 0


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("method", ["imap", "as_completed"])
def test_stop_drops_what_waits_to_be_sent_again_where_its_failure_would_be_raised(method, in_place):
    decisions = {"good": (0.2, None), "fails": (0.1, broken()), "never": (0.1, None)}
    provider, ask = ask_by(
        "threads", lambda number, item: decisions[item], max_concurrency=2, retry=Retry(3, wait=30.0)
    )
    with VirtualTime() as virtual:
        results = getattr(ask, method)(["good", "fails"] + ["never"] * 40, return_exceptions=in_place)
        first = next(results)
        results.stop()
        rest = list(results)
        assert virtual.now() < 10.0
    assert (first if method == "imap" else first.value) == "good"
    failures = [one if method == "imap" else one.error for one in rest]
    own = [one for one in failures if isinstance(one, SimulatedAPIError)]
    assert len(own) == (0 if method == "imap" and not in_place else 1)
    left = sum(isinstance(one, NotRun) for one in failures)
    assert left == (42 - len(provider.starts) if in_place else 0)


def test_an_item_in_flight_at_a_deadline_says_how_far_it_had_come():
    _, ask = ask_by("threads", lambda number, item: (1.0, broken()), max_concurrency=1, retry=Retry(9, wait=1.0))
    with VirtualTime():
        (found,) = ask.as_completed(["fails"], deadline=4.5, return_exceptions=True)
    assert isinstance(found.error, DeadlineExceeded)
    assert (found.attempts, found.queued, found.started, found.ended) == (3, 0.0, 4.0, 4.5)


def test_an_item_that_has_been_run_and_meets_a_gate_that_is_too_long_ends_with_its_own_failure(run_by):
    limits = Limits(4, max_wait=60)
    closes = Provider(lambda number, item: (1.0, refusal(wait=3600)))
    fails = Provider(lambda number, item: (0.1, broken()))
    failures = []
    with VirtualTime() as virtual:

        def closing():
            with pytest.raises(SimulatedAPIError, match="slow down"):
                parallel_map(limits=limits)(closes.__call__)(0)

        def failing():
            with pytest.raises(SimulatedAPIError, match="broken") as raised:
                parallel_map(limits=limits, retry=Retry(3, wait=5.0))(fails.__call__)(0)
            failures.append(raised.value)

        threads = [virtual.start(closing), virtual.start(failing)]
        options = {"limits": limits, "retry": Retry(3, wait=5.0)}
        with pytest.raises(SimulatedAPIError, match="broken") as raised:
            run_by(virtual, fails, [1], options)
        failures.append(raised.value)
        for thread in threads:
            virtual.join(thread)
        assert virtual.now() == pytest.approx(5.1)
    assert len(fails.starts) == 2
    for failure in failures:
        assert (
            "fanmap: not sent again: the server asked to wait 3595.9 s more, longer than max_wait=60: "
            "to wait that long, write Limits(max_wait=3596)"
        ) in failure.__notes__


@pytest.mark.parametrize(
    "settings", [{"max_concurrency": 1}, {"max_concurrency": 2, "rate": Rate(1, 30, burst=1)}], ids=["slot", "rate"]
)
def test_no_attempt_starts_after_total_however_long_it_waits_in_line(run_by, settings):
    """One call fails and waits for its repeat; another one, or the rate, keeps it in line past its total."""
    limits = Limits(**settings)
    provider = Provider(lambda number, item: (0.1, broken()) if item == "fails" else (60.0, None))
    retry = Retry(5, wait=1.0, total=10.0)
    with VirtualTime() as virtual:

        def long():
            virtual.sleep(0.5)
            assert parallel_map(limits=limits)(provider.__call__)("long") == "long"

        def direct():
            virtual.sleep(0.05)
            with pytest.raises(SimulatedAPIError):
                parallel_map(limits=limits, retry=retry)(provider.__call__)("fails")

        threads = [virtual.start(long)]
        if "rate" not in settings:
            threads.append(virtual.start(direct))
        options = {"limits": limits, "retry": retry}
        (found,) = run_by(virtual, provider, ["fails"], options, return_exceptions=True)
        assert isinstance(found, SimulatedAPIError)
        assert virtual.now() == pytest.approx(10.0)  # not at its turn: when there was no time left for one
        for thread in threads:
            virtual.join(thread)
    assert len(provider.starts) == len(threads) + 1
    assert limits.stats.in_flight == limits.stats.waiting == 0


def test_an_answer_that_is_not_wanted_is_no_result_where_the_deadline_leaves_no_time_to_ask_again(run_by):
    provider = Provider(lambda number, item: (1.0, None))
    options = {"retry": Retry(4, on=tenacity.retry_if_result(lambda answer: answer == "bad"), wait=30.0)}
    with VirtualTime() as virtual:
        found = run_by(virtual, provider, ["good", "bad"], options, deadline=20.0, return_exceptions=True)
        assert virtual.now() == pytest.approx(1.0)  # as a failure whose next attempt would come too late
    assert found[0] == "good"
    assert isinstance(found[1], tenacity.RetryError)
    assert found[1].last_attempt.result() == "bad"


def test_tokens_of_an_answer_that_is_given_up_are_settled_too():
    limits = Limits(1, tpm=6000)
    retry = Retry(1, on=tenacity.retry_if_result(lambda answer: True))
    with VirtualTime() as virtual:
        ask = parallel_map(limits=limits, retry=retry)(lambda text: reply_of(10))
        assert len(ask.map(["x" * 400] * 92, return_exceptions=True)) == 92
        assert virtual.now() == pytest.approx(8.34, rel=0.05)


# The server's own trouble


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
@pytest.mark.parametrize("wait", [None, 1])
def test_5xx_never_lowers_a_ceiling(run_by, status, wait):
    def decide(number, item):
        return 0.1, refusal(status, wait=wait, code="overloaded") if number % 4 == 1 else None

    provider = Provider(decide)
    limits = Limits(8)
    with VirtualTime() as virtual:
        options = {"limits": limits, "retry": Retry(attempts=50)}
        assert run_by(virtual, provider, range(60), options) == list(range(60))
    assert limits.history == []
    assert limits.stats.ceiling == 8


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limit_exceeded"), (503, None), (529, "overloaded_error")])
def test_a_refusal_that_names_its_wait_lowers_no_ceiling(run_by, status, code):
    provider = Provider(lambda number, item: (0.1, refusal(status, wait=1, code=code) if number == 9 else None))
    limits = Limits(8)
    with VirtualTime() as virtual:
        run_by(virtual, provider, range(20), {"limits": limits})
    assert limits.history == []


@pytest.mark.parametrize("forfeit", [False, True], ids=["refusals are free", "refusals count"])
@pytest.mark.parametrize("at_once", [64, "auto"])
@pytest.mark.whole
def test_a_rate_that_nobody_was_told_is_kept_by_fewer_at_once(at_once, forfeit):
    """A server that names a wait of some milliseconds, again and again: gates alone sent every call twice."""
    bucket = Bucket(3000, 50)

    def decide(number, item):
        wait = bucket.take(clock.now(), forfeit=forfeit)
        return (0.0, refusal(wait=wait)) if wait else (0.4 + item % 9 / 10, None)

    provider = Provider(decide)
    with VirtualTime() as virtual:
        assert by_asyncio(virtual, provider, range(2000), {"limits": Limits(at_once)}) == list(range(2000))
        assert virtual.now() < 1.15 * 1950 / 50
    assert len(provider.starts) < 1.05 * 2000


@pytest.mark.parametrize("at_once", [64, "auto"])
@pytest.mark.whole
def test_nor_does_a_client_that_repeats_by_itself_keep_everybody_out(at_once):
    """At a server where knocking counts. Its calls have begun before every gate; what was refused has not."""
    bucket, asked = Bucket(3000, 50), []

    @parallel_map(limits=Limits(at_once, read_responses=False))
    async def ask(item):
        for repeat in range(3):
            asked.append(item)
            wait = bucket.take(clock.now(), forfeit=True)
            if not wait:
                await anyio.sleep(0.4 + item % 9 / 10)
                return item
            if repeat < 2:
                await anyio.sleep(wait + 0.5 * 2**repeat)
        error = refusal(wait=wait)
        error.request = SimpleNamespace(headers={"x-stainless-retry-count": "2"})
        raise error

    with VirtualTime() as virtual:
        assert virtual.run(ask.amap(range(1000))) == list(range(1000))
        assert virtual.now() < 60.0  # 19 at best; 121, or for ever, where it did
    assert len(asked) < 7 * 1000  # 1.6 and 5 an item


def test_a_429_that_a_rate_of_ours_explains_lowers_no_ceiling(run_by):
    provider = Provider(lambda number, item: (0.1, refusal() if number == 9 else None))
    limits = Limits(8, rate=Rate(100, 1))
    with VirtualTime() as virtual:
        run_by(virtual, provider, range(20), {"limits": limits})
    assert limits.history == []


def test_one_that_its_client_had_repeated_lowers_it_under_a_rate_too(run_by):
    """The rate paces calls, and not what the client sends again by itself."""

    def decide(number, item):
        error = refusal() if number == 9 else None
        if error is not None:
            error.request = SimpleNamespace(headers={"x-stainless-retry-count": "2"})
        return 0.1, error

    limits = Limits(8, rate=Rate(100, 1))
    with VirtualTime() as virtual:
        run_by(virtual, Provider(decide), range(20), {"limits": limits})
    assert [change.why for change in limits.history][:1] == ["refused"]


def outage(begin, end, seconds=0.05):
    """A server that answers each call with a 502 in that time."""

    def decide(number, item):
        if begin <= clock.now() < end:
            return seconds, refusal(502, code=None)
        return latency(item) * 4, None

    return Provider(decide)


@pytest.mark.parametrize("seconds", [0.05, 2.0])
def test_an_outage_of_a_minute_loses_none_of_2000_items_and_costs_few_calls(seconds):
    provider = outage(10, 70, seconds)
    with VirtualTime() as virtual:
        options = {"max_concurrency": 64, "retry": Retry()}
        assert by_asyncio(virtual, provider, range(2000), options) == list(range(2000))
        assert virtual.now() < 70 + 8 + 2000 * 1.0 / 64
    assert len(provider.starts) <= 1.3 * 2000


def test_in_an_outage_everybody_waits_behind_one_probe(run_by):
    provider = outage(10, 70)
    limits = Limits(16)
    with VirtualTime() as virtual:
        options = {"limits": limits, "retry": Retry(attempts=9)}
        assert run_by(virtual, provider, range(400), options) == list(range(400))
    began = limits.history[0].time  # when eight had failed, and nobody had been answered between
    assert 10 < began < 13
    probes = provider.starts_within(began + 0.001, 70)
    assert len(probes) <= 16
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert all(0.25 <= gap <= 8.2 for gap in gaps)
    assert max(gaps) > 4
    assert [(change.after, change.why) for change in limits.history] == [(1, "outage"), (16, "answered")]


def test_without_retry_asked_for_failures_are_no_outage():
    provider = outage(0, 70)
    with VirtualTime() as virtual:
        found = by_threads(virtual, provider, range(100), {"max_concurrency": 4}, return_exceptions=True)
        assert virtual.now() < 2
    assert all(isinstance(one, SimulatedAPIError) for one in found)
    assert len(provider.starts) == 100


# A client that repeats by itself


def completions(client):
    def ask(prompt: str) -> str:
        reply = client.chat.completions.create(model="small", messages=[{"role": "user", "content": prompt}])
        return reply.choices[0].message.content

    return ask


@pytest.fixture
def stubborn():
    """A real server and a real client with its usual two retries."""
    import openai

    with (
        serve(latency=0.002) as server,
        openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=2) as client,
    ):
        yield server, client


def quick(status):
    return Reply(status, headers={"retry-after-ms": "1"})


def test_a_client_that_repeats_by_itself_is_said_once_with_the_line_to_write(stubborn):
    import openai

    server, client = stubborn
    server.script([quick(500)] * 12)
    ask = parallel_map(max_concurrency=2)(completions(client))
    with pytest.warns(UserWarning, match="max_retries=0") as said:
        found = ask.map(["a", "b", "c", "d"], return_exceptions=True)
    assert [type(one) for one in found] == [openai.InternalServerError] * 4
    assert len(said) == 1
    assert "OpenAI(max_retries=0)" in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask.map(["e"])


def test_a_clients_own_repeats_count_among_our_attempts(stubborn):
    server, client = stubborn
    server.script([quick(500)] * 100)
    ask = parallel_map(max_concurrency=1, retry=Retry(attempts=6, wait=0))(completions(client))
    with pytest.warns(UserWarning, match="max_retries=0"):
        [outcome] = ask.as_completed(["a"])
    assert server.sent == 6  # two calls of three requests
    assert outcome.attempts == 6


def test_what_a_client_repeated_in_vain_counts_as_refused(stubborn):
    server, client = stubborn
    server.script([quick(429)] * 3)
    limits = Limits(1)
    ask = parallel_map(limits=limits)(completions(client))
    with pytest.warns(UserWarning, match="max_retries=0"):
        [outcome] = ask.as_completed(["a"])
    assert outcome.error is None
    assert outcome.attempts == 1
    stats = limits.stats
    assert (stats.started, stats.refused, stats.attempts) == (4, 3, 1)


# Tokens


def reply_of(tokens):
    return SimpleNamespace(usage=SimpleNamespace(prompt_tokens=tokens, completion_tokens=0))


def test_requests_and_tokens_are_granted_together():
    starts = []

    async def call(text):
        starts.append(clock.now())
        await anyio.sleep(0.01)

    limits = Limits(50, rate=[Rate(1, 1.0, burst=1), Rate(100, 10.0, burst=50, cost=len)])
    with VirtualTime() as virtual:
        virtual.run(parallel_map(limits=limits)(call).amap(["x" * 25] * 6))
    # Two calls empty the tokens (50), then 10 a second come back: each call waits 2.5 s for its tokens,
    # and while it does it holds no request that it would lose.
    assert starts == pytest.approx([0.0, 1.0, 2.5, 5.0, 7.5, 10.0])


def by_gather(virtual, ask, texts, limits, *, trio=False, functions=False):
    async def main():
        entries = [functools.partial(ask, text) if functions else ask(text) for text in texts]
        return await gather_bounded(*entries, limits=limits)

    return virtual.run_trio(main) if trio else virtual.run(main())


gathered = pytest.mark.parametrize(
    "options", [{}, {"trio": True}, {"functions": True}], ids=["asyncio", "trio", "functions"]
)


@gathered
def test_a_call_that_takes_over_is_charged_what_it_costs_and_not_what_its_awaitable_was(options):
    starts = []

    async def call(text):
        starts.append(clock.now())
        await anyio.sleep(0.01)

    limits = Limits(50, rate=[Rate(1, 1.0, burst=1), Rate(100, 10.0, burst=50, cost=len)])
    with VirtualTime() as virtual:
        by_gather(virtual, parallel_map(limits=limits)(call), ["x" * 25] * 6, limits, **options)
    assert starts == pytest.approx([0.0, 1.0, 2.5, 5.0, 7.5, 10.0])  # as of a run of the same
    assert limits.stats.in_flight == limits.stats.waiting == 0


@gathered
@pytest.mark.parametrize(("used", "seconds"), [(100, 90), (10, 8.34), (None, 90)])
def test_a_call_that_takes_over_is_settled_with_the_usage_in_its_reply(used, seconds, options):
    async def call(text):
        await anyio.sleep(0.001)
        return "a text tells nothing" if used is None else reply_of(used)

    limits = Limits(1, tpm=6000)
    with VirtualTime() as virtual:
        by_gather(virtual, parallel_map(limits=limits)(call), ["x" * 400] * 92, limits, **options)
        assert virtual.now() == pytest.approx(seconds, rel=0.05)


@gathered
def test_no_window_holds_more_than_its_amount_and_one_call_of_gathered_calls_in_a_crowd(options):
    starts = []

    async def call(text):
        starts.append((clock.now(), len(text)))
        await anyio.sleep(0.5)

    limits = Limits(16, rate=Rate(100, 10.0, cost=len))
    texts = ["x" * (1 + 7 * n % 20) for n in range(80)]
    with VirtualTime() as virtual:
        by_gather(virtual, parallel_map(limits=limits)(call), texts, limits, **options)
        assert virtual.now() < sum(map(len, texts)) / (100 - 100 / 60) * 10 + 2
    assert len(starts) == 80
    for at, _ in starts:
        assert sum(cost for start, cost in starts if at <= start < at + 10.0) <= 120


def test_a_call_that_could_never_start_does_not_take_over():
    limits = Limits(1, tpm=100)
    ask = parallel_map(limits=limits)(anyio.sleep)

    async def item():
        with pytest.raises(ValueError, match=r"tpm must be >= the tokens that one call may take, 250"):
            await ask("x" * 1000)
        return await ask(0)

    with VirtualTime() as virtual:
        virtual.run(gather_bounded(item, limits=limits))
        assert virtual.now() < 2
    assert limits.stats.in_flight == 0


def test_a_call_that_is_cancelled_while_it_waits_for_the_difference_gives_everything_back():
    limits = Limits(1, rate=Rate(100, 100.0, burst=100, cost=len))

    async def main():
        assert await aask("x" * 80) == 0
        assert await gather_bounded(aitem, limits=limits) == [3]
        assert limits.stats.in_flight == limits.stats.waiting == 0
        return await aask("x" * 20)

    async def aitem():
        with anyio.move_on_after(3):
            await aask("x" * 90)
        return clock.now()

    async def call(text):
        return clock.now()

    aask = parallel_map(limits=limits)(call)
    with VirtualTime() as virtual:
        assert virtual.run(main()) == 3  # 20 were left: neither the one unit nor the 90 were kept


def test_a_large_prompt_is_never_starved():
    starts = {}

    async def call(text):
        starts[text[:3]] = clock.now()
        await anyio.sleep(0.01)

    texts = [f"{n:03}" + "x" * 7 for n in range(60)]
    texts[20] = "BIG" + "x" * 397
    limits = Limits(60, rate=Rate(600, 60.0, burst=50, cost=len))
    with VirtualTime() as virtual:
        virtual.run(parallel_map(limits=limits)(call).amap(texts))
    assert list(starts) == [text[:3] for text in texts]  # nobody that asked later went before it
    assert starts["021"] - starts["BIG"] == pytest.approx(36.0)  # in debt by 360, at 10 a second


def test_a_prompt_that_could_never_start_is_an_error_at_once():
    ask = parallel_map(tpm=100)(lambda text: text)
    with VirtualTime() as virtual:
        with pytest.raises(
            ValueError, match=r"tpm must be >= the tokens that one call may take, 250 by estimate, got 100"
        ):
            ask("x" * 1000)
        assert virtual.now() == 0


@pytest.mark.parametrize(("used", "seconds"), [(100, 90), (10, 8.34), (None, 90)])
def test_tokens_are_settled_with_the_usage_in_the_reply(used, seconds):
    async def call(text):
        await anyio.sleep(0.001)
        return "a text tells nothing" if used is None else reply_of(used)

    ask = parallel_map(max_concurrency=1, tpm=6000)(call)
    with VirtualTime() as virtual:
        virtual.run(ask.amap(["x" * 400] * 92))  # charged 100 each, at 100 a second but for the burst
        assert virtual.now() == pytest.approx(seconds, rel=0.05)


def test_more_than_was_estimated_is_settled_too():
    async def call(text):
        await anyio.sleep(0.001)
        return reply_of(100)

    ask = parallel_map(max_concurrency=1, tpm=6000)(call)
    with VirtualTime() as virtual:
        virtual.run(ask.amap(["x" * 40] * 92))
        assert virtual.now() == pytest.approx(90, rel=0.05)


# The user's own reading


class Busy(Exception):
    pass


def test_classify_says_what_an_exception_of_ones_own_means(run_by):
    provider = Provider(lambda number, item: (0.0, Busy()) if number == 3 else (0.1, None))
    limits = Limits(4, classify=lambda error: Verdict("rate", 5.0) if isinstance(error, Busy) else None)
    with VirtualTime() as virtual:
        assert run_by(virtual, provider, range(12), {"limits": limits}) == list(range(12))
    assert provider.starts_within(provider.starts[3], provider.starts[3] + 5) == []
    assert limits.stats.refused == 1


def test_classify_goes_before_our_own_reading():
    provider = Provider(lambda number, item: (0.1, spent()))
    limits = Limits(4, classify=lambda error: Verdict("permanent"))
    with VirtualTime() as virtual:
        found = by_threads(virtual, provider, range(20), {"limits": limits}, return_exceptions=True)
    assert [type(one) for one in found] == [SimulatedAPIError] * 20


@pytest.mark.parametrize(
    ("classify", "said"),
    [
        (
            lambda error: 1 / 0,
            "classify raised ZeroDivisionError for a SimulatedAPIError; the error was read without it",
        ),
        (lambda error: "rate", "classify must return a Verdict or None, got a str; the error was read without it"),
    ],
)
def test_a_classify_that_fails_is_logged_and_the_failure_is_read_without_it(classify, said, caplog):
    provider = Provider(lambda number, item: (0.0, refusal(wait=1)) if number == 0 else (0.1, None))
    with caplog.at_level(logging.ERROR, "fanmap"), VirtualTime() as virtual:
        assert by_threads(virtual, provider, range(4), {"limits": Limits(2, classify=classify)}) == [0, 1, 2, 3]
    assert caplog.messages == [said]


# Where it stands


def test_stats_are_right_in_the_middle_and_at_the_end():
    provider = Provider(lambda number, item: (0.0, refusal(wait=4)) if number == 5 else (1.0, None))
    limits = Limits(4)
    ask = parallel_map(limits=limits)(provider.__call__)
    with VirtualTime() as virtual:
        results = ask.as_completed(list(range(10)))
        seen = []

        def watch():
            for until in (0.5, 1.5, 4.5, 6.5, 60):
                virtual.sleep(until - virtual.now())
                seen.append((limits.stats, results.stats))

        watcher = virtual.start(watch)
        with results:
            assert sorted(outcome.value for outcome in results) == list(range(10))
        virtual.join(watcher)
    # 0: four start; 1: four are done, four more start, the sixth call is refused at once; 5: the gate opens.
    begun, held, still, going, over = seen
    for stats in begun:
        assert (stats.started, stats.in_flight, stats.waiting, stats.done, stats.refused) == (4, 4, 0, 0, 0)
        assert stats.ceiling == 4
    for stats in held:
        assert (stats.done, stats.refused, stats.started, stats.attempts) == (
            4,
            1,
            stats.in_flight + 5,
            stats.in_flight + 4,
        )
        assert stats.waiting == 4 - stats.in_flight
    assert still[0].in_flight == 0
    assert still[0].waiting == still[1].waiting == 10 - still[1].done
    assert going[1].in_flight > 0
    for stats in over:
        assert (stats.started, stats.done, stats.failed, stats.attempts, stats.refused) == (11, 10, 0, 10, 1)
        assert (stats.in_flight, stats.waiting, stats.abandoned) == (0, 0, 0)
        assert stats.waited_for_slot == pytest.approx(0.0)
        assert stats.waited_to_repeat >= 4.0
        assert stats.waited_at_gate == pytest.approx(6.0)  # two of them, from 2 to 5
        assert 0.25 <= stats.waited_for_rate < 1.0  # then one start a quarter of a second
    assert over[1].total == over[1].taken == 10


def test_waits_are_added_up_by_their_cause():
    ask = parallel_map(limits=(limits := Limits(1)))(Provider(lambda number, item: (1.0, None)).__call__)
    with VirtualTime() as virtual:
        by_direct_calls(virtual, Provider(lambda number, item: (1.0, None)), range(4), {"limits": limits})
        stats = limits.stats
        assert stats.waited_for_slot == pytest.approx(1 + 2 + 3)
        assert (stats.waited_for_rate, stats.waited_at_gate, stats.waited_to_repeat) == (0, 0, 0)
    del ask
    limits = Limits(4, rate=Rate(1, 1.0))
    with VirtualTime() as virtual:
        by_threads(virtual, Provider(lambda number, item: (0.1, None)), range(4), {"limits": limits})
        assert limits.stats.waited_for_rate == pytest.approx(1 + 2 + 3)
        assert limits.stats.waited_for_slot == 0


def test_stats_may_be_read_from_any_thread_while_calls_are_under_way():
    limits = Limits(8, rate=Rate(100_000, 1.0))
    ask = parallel_map(limits=limits)(lambda item: item)
    results = ask.imap(range(3000))
    stop = threading.Event()
    bad = []

    def read():
        before = 0
        while not stop.is_set():
            stats, run = limits.stats, results.stats
            if not (0 <= run.done <= run.taken <= 3000 and before <= stats.started and 0 <= stats.in_flight <= 8):
                bad.append((stats, run))
            before = stats.started
            time.sleep(0)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with results:
            assert sum(1 for _ in results) == 3000
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert bad == []
    assert (limits.stats.started, limits.stats.done, results.stats.done) == (3000, 3000, 3000)


@pytest.mark.whole
def test_the_history_keeps_the_last_thousand_changes():
    async def call(item):
        calls.append(item)
        if len(calls) % 7 == 0:
            raise refusal(code="concurrent_request_limit_exceeded")
        await asyncio.sleep(0.1)

    calls = []
    limits = Limits(Adaptive(start=4))
    budget_of(limits).random.seed(1)
    with VirtualTime() as virtual:
        virtual.run(parallel_map(limits=limits)(call).amap(range(6000)))
        history = limits.history
        assert len(history) == 1000
        assert history[-1].time > virtual.now() - 60
    assert all(change.before != change.after for change in history)
    assert all(earlier.after == later.before for earlier, later in pairwise(history))
    assert [earlier.time for earlier in history] == sorted(earlier.time for earlier in history)
    history.clear()
    assert len(limits.history) == 1000
