"""A shared Limits through its public face, in virtual time: what holds under a Limits holds over several of them."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import pickle
import threading
import time
import warnings

import pytest
from typing_extensions import override

from fanmap import Adaptive, Busy, Limits, NotRun, Rate, Retry, SharedUnavailable, Verdict, parallel_map
from fanmap._drive.limits.limits import budget_of
from fanmap._policy.limits import watching
from fanmap._policy.shared.document import TOKENS
from fanmap.testing import SimulatedAPIError, SimulatedStore, VirtualTime, sleep


def api_error(status, headers=None, code=None):
    return SimulatedAPIError("simulated", status, headers or {}, {"message": "simulated", "code": code, "type": code})


class Watch:
    """Calls under way over all processes, and when each began."""

    def __init__(self):
        self.now = self.most = 0
        self.starts = []

    def call(self, virtual, seconds=1.0):
        self.starts.append(virtual.now())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            sleep(seconds)
        finally:
            self.now -= 1


def fullest(starts, per):
    return max(sum(first <= at < first + per for at in starts) for first in starts)


@pytest.fixture
def virtual():
    with VirtualTime(seed=5) as time:
        yield time


def processes(count, store=None, /, *args, **more):
    store = SimulatedStore() if store is None else store
    return [Limits(*args, shared=store, **more) for _ in range(count)]


def run_all(virtual, functions, inputs):
    """Each function maps the inputs in a thread of its own; what each made of them."""
    made = {}

    def keep(place, function):
        made[place] = function.map(inputs)

    threads = [virtual.start(keep, place, function) for place, function in enumerate(functions)]
    for thread in threads:
        virtual.join(thread)
    return [made[place] for place in range(len(functions))]


def test_slots_are_everybody_s(virtual):
    watch = Watch()
    limits = processes(3, None, 4)
    functions = [parallel_map(limits=one)(lambda item: watch.call(virtual) or item) for one in limits]
    assert run_all(virtual, functions, range(20)) == [list(range(20))] * 3
    assert watch.most == 4
    assert 15.0 <= virtual.now() <= 15.5  # 60 calls of a second
    assert {one.stats.ceiling for one in limits} == {4}
    assert [one.stats.done for one in limits] == [20, 20, 20]


def test_a_traced_run_has_the_ceiling_of_all(virtual, tmp_path):
    functions = [parallel_map(limits=one)(lambda item: sleep(1.0)) for one in processes(2, None, 4)]
    threads = [
        virtual.start(lambda place=place, function=function: function.map(range(12), trace=tmp_path / f"{place}.json"))
        for place, function in enumerate(functions)
    ]
    for thread in threads:
        virtual.join(thread)
    for place in range(2):
        whole = json.loads((tmp_path / f"{place}.json").read_text(encoding="utf-8"))
        events = whole["traceEvents"]
        assert {event["args"]["calls"] for event in events if event["name"] == "ceiling"} == {4}
        assert {event["name"] for event in events if event.get("cat") == "wait"} == {"slot"}
        assert whole["otherData"]["sentence"].startswith("Too few slots")
        assert "refusals" not in whole["otherData"]["sentence"]


def test_a_rate_is_everybody_s(virtual):
    watch = Watch()
    limits = processes(3, None, 30, rate=Rate(10, 1))
    functions = [parallel_map(limits=one)(lambda item: watch.call(virtual, 0.1)) for one in limits]
    run_all(virtual, functions, range(30))
    assert fullest(watch.starts, 1.0) == 10
    assert virtual.now() <= 9.9


def test_direct_calls_blocks_and_coroutines_are_admitted(virtual):
    watch = Watch()
    one, other = processes(2, None, 1)

    @parallel_map(limits=one)
    def ask(item):
        watch.call(virtual)
        return item

    @parallel_map(limits=other)
    async def ask_async(item):
        watch.now += 1
        watch.most = max(watch.most, watch.now)
        await asyncio.sleep(1)
        watch.now -= 1
        return item

    thread = virtual.start(ask.map, range(3))
    assert ask(7) == 7
    assert virtual.run(ask_async(8)) == 8
    assert virtual.run(ask_async.amap([1, 2])) == [1, 2]
    with one:
        watch.call(virtual)
    virtual.join(thread)
    assert watch.most == 1
    assert 8.0 <= virtual.now() <= 11.0


def test_a_direct_call_in_a_line_with_an_end_joins_the_others_too(virtual):
    (account,) = processes(1, None, 2, max_waiting=3)

    @parallel_map(limits=account)
    def ask(item):
        return item

    found = []
    virtual.join(virtual.start(lambda: found.append(ask(1))))
    assert found == [1]
    assert account.everybody.members == 1


def test_where_no_call_may_wait_the_first_of_an_idle_process_is_not_turned_away(virtual):
    ours, theirs = processes(2, None, 2, max_waiting=0)
    ask, hold = (parallel_map(limits=account)(sleep) for account in (ours, theirs))
    ask(0.1)
    holders = [virtual.start(hold, 60.0) for _ in range(2)]
    sleep(30.0)  # idle for long enough to have given its slots back
    with pytest.raises(Busy):
        for _ in range(2):  # the first may find out that the others have them
            ask(0.1)
    for thread in holders:
        virtual.join(thread)
    sleep(30.0)
    ask(0.1)


def test_a_nested_call_runs_on_its_lender_s_slot_with_a_cap_of_nothing(virtual):
    store = SimulatedStore()
    one, other = processes(2, store, 1)

    @parallel_map(limits=one)
    def outer(item):
        sleep(0.5)
        return sum(inner.map([item, item]))

    @parallel_map(limits=one)
    def inner(item):
        sleep(1.0)  # long enough for its slot to be wanted elsewhere
        return item

    @parallel_map(limits=other)
    def third(item):
        sleep(0.1)
        return item

    thread = virtual.start(third.map, range(5))
    assert outer.map([1, 2, 3]) == [2, 4, 6]
    virtual.join(thread)


def test_a_refusal_that_names_a_wait_holds_everybody(virtual):
    told = []

    def serve(item):
        if item == "refused" and not told:
            told.append(virtual.now())
            raise api_error(429, {"retry-after": "3"})
        assert not told or virtual.now() >= told[0] + 3.0 or virtual.now() <= told[0] + 0.01
        sleep(0.1)
        return item

    one, other = processes(2, None, 4)
    ask, ask_other = parallel_map(limits=one)(serve), parallel_map(limits=other)(serve)
    ask("warm"), ask_other("warm")
    thread = virtual.start(ask_other.map, range(40))
    assert ask.map(["refused"]) == ["refused"]
    virtual.join(thread)
    assert virtual.now() >= told[0] + 3.0
    assert other.stats.refused == 0


@pytest.mark.whole
def test_too_many_at_once_lowers_everybody_s_ceiling(virtual):
    watch = Watch()

    def serve(item):
        if watch.now >= 4:
            sleep(0.005)
            raise api_error(429, code="concurrent_request_limit_exceeded")
        watch.call(virtual, 0.5)
        return item

    limits = processes(4, None, "auto")
    functions = [parallel_map(limits=one)(serve) for one in limits]
    run_all(virtual, functions, range(100))
    assert watch.most == 4
    assert {one.stats.ceiling <= 5 for one in limits} == {True}
    assert sum(one.stats.refused for one in limits) <= 0.1 * 400
    assert any(change.after < change.before for one in limits for change in one.history)
    assert virtual.now() <= 80.0  # 50 at best


def test_a_refusal_is_not_repeated_on_the_same_slot_before_the_others_have_heard_of_it(virtual):
    one, other = processes(2, SimulatedStore(latency=0.2), 8)
    refused, watch = [], Watch()

    def ask(number):
        if watch.now >= 2:
            refused.append(virtual.now())
            raise api_error(429, code="concurrency_limit_exceeded")
        watch.call(virtual)
        return number

    functions = [parallel_map(limits=limits)(ask) for limits in (one, other)]
    assert run_all(virtual, functions, range(60)) == [list(range(60))] * 2
    first = min(refused)
    assert sum(at < first + 0.3 for at in refused) <= 8  # each slot of the two once


def test_an_outage_is_everybody_s_and_one_probes(virtual):
    down_until = 60.0
    calls = []

    def serve(item):
        calls.append(virtual.now())
        sleep(0.2)
        if virtual.now() < down_until:
            raise ConnectionResetError("down")
        return item

    limits = processes(3, None, 8, max_wait=600.0)
    retry = Retry(attempts=20)
    functions = [parallel_map(limits=one, retry=retry)(serve) for one in limits]
    assert run_all(virtual, functions, range(20)) == [list(range(20))] * 3
    assert sum(10.0 < at < down_until for at in calls) <= 30  # probes, up to eight seconds apart


def test_tokens_are_settled_over_all(virtual):
    used = []

    def serve(prompt):
        used.append((virtual.now(), 50))
        sleep(0.5)
        return {"usage": {"total_tokens": 50}}

    limits = processes(2, None, 20, tpm=6000)
    functions = [parallel_map(limits=one)(serve) for one in limits]
    run_all(virtual, functions, ["x" * 396] * 100)  # estimated at 99 tokens, and 50 are used
    assert sum(tokens for at, tokens in used if at < 60.0) <= 6000
    assert virtual.now() <= 115.0  # 100 s of tokens; without settlement it would be 198


def test_a_spent_account_stops_what_runs_anywhere_and_who_begins_later_tries(virtual):
    def serve(item):
        sleep(1.0)
        if item == "spent":
            raise api_error(429, code="insufficient_quota")
        return item

    store = SimulatedStore()
    one, other = processes(2, store, 4)
    ask, ask_other = parallel_map(limits=one)(serve), parallel_map(limits=other)(serve)
    failed = []

    def run_other(**more):
        try:
            failed.append(ask_other.map(range(50), **more))
        except NotRun as error:
            failed.append(error)

    thread, kept = virtual.start(run_other), virtual.start(lambda: run_other(return_exceptions=True))
    virtual.sleep(2.2)
    with pytest.raises(SimulatedAPIError):
        ask.map(["spent"])
    virtual.join(thread)
    virtual.join(kept)
    (error,) = [each for each in failed if isinstance(each, NotRun)]
    assert "another process under shared='simulated' was told so" in str(error.__cause__)
    (results,) = [each for each in failed if isinstance(each, list)]
    assert isinstance(results[-1], NotRun)
    assert "another process under shared='simulated' was told so" in str(results[-1].__cause__)
    assert one.everybody.spent is not None
    assert ask_other.map(["good"]) == ["good"]  # its first call decides
    virtual.sleep(1.0)
    assert one.everybody.spent is None
    assert ask.map(range(3)) == [0, 1, 2]


def test_a_key_that_is_refused_stops_everybody(virtual):
    def serve(item):
        sleep(0.1)
        raise api_error(401)

    limits = processes(2, None, 2)
    for one in limits:
        ask = parallel_map(limits=one)(serve)
        with pytest.raises(SimulatedAPIError):
            ask.map(range(100))
    assert sum(one.stats.started for one in limits) <= 16


# The store


def test_a_store_that_was_never_reached_is_an_error_after_five_seconds(virtual):
    store = SimulatedStore()
    store.away = True
    (one,) = processes(1, store, 4)

    @parallel_map(limits=one)
    def ask(item):
        return item

    with pytest.raises(SharedUnavailable, match=r"shared='simulated' was never reached, tried for 5\.\d s: it is away"):
        ask.map(range(3))
    assert 5.0 <= virtual.now() <= 6.0
    with pytest.raises(SharedUnavailable):
        ask(1)
    with pytest.raises(SharedUnavailable), one:
        pass
    assert virtual.now() <= 6.0
    kept = ask.map
    with pytest.raises(SharedUnavailable):
        kept(range(3), return_exceptions=True)
    store.away = False
    virtual.sleep(1.0)
    assert ask.map(range(3)) == [0, 1, 2]


def test_a_shorter_max_wait_is_a_shorter_patience(virtual):
    store = SimulatedStore()
    store.away = True
    (one,) = processes(1, store, 4, max_wait=2.0)
    with pytest.raises(SharedUnavailable):
        parallel_map(limits=one)(lambda item: item).map([1])
    assert 2.0 <= virtual.now() <= 3.0


def test_a_store_that_is_away_for_a_while_loses_nothing(virtual):
    watch = Watch()
    store = SimulatedStore(lease=10.0)
    limits = processes(2, store, 4)
    functions = [parallel_map(limits=one)(lambda item: watch.call(virtual) or item) for one in limits]

    def outage():
        virtual.sleep(5.0)
        store.away = True
        virtual.sleep(20.0)
        store.away = False

    thread = virtual.start(outage)
    assert run_all(virtual, functions, range(30)) == [list(range(30))] * 2
    virtual.join(thread)
    assert watch.most == 4
    late = [at for at in watch.starts if 15.0 < at < 25.0]
    assert not late  # starts go on till the lease ends
    assert [at for at in watch.starts if 10.0 < at < 14.0]
    assert min(at for at in watch.starts if at >= 25.0) <= 26.0


def test_a_store_that_is_away_for_longer_than_max_wait_stops_the_run(virtual):
    store = SimulatedStore(lease=10.0)
    (one,) = processes(1, store, 2, max_wait=30.0)
    ask = parallel_map(limits=one)(lambda item: sleep(1.0) or item)

    def outage():
        virtual.sleep(5.0)
        store.away = True

    virtual.start(outage)
    results = ask.map(range(100), return_exceptions=True)
    done = [result for result in results if isinstance(result, int)]
    assert 20 <= len(done) <= 32  # what was granted was used
    assert all(isinstance(result, (int, NotRun)) for result in results)
    cause = next(result for result in results if isinstance(result, NotRun)).__cause__
    assert isinstance(cause, SharedUnavailable)
    assert "could not be reached for" in str(cause)
    assert 44.0 <= virtual.now() <= 46.0  # the lease, and max_wait from the first call that could not start


def test_a_call_that_had_been_refused_ends_with_that_where_the_store_is_away(virtual):
    store = SimulatedStore(lease=2.0)
    (one,) = processes(1, store, 2, max_wait=3.0)

    @parallel_map(limits=one)
    def ask(item):
        store.away = True
        raise api_error(429, {"retry-after": "2.5"})

    with pytest.raises(SimulatedAPIError) as raised:
        ask(1)
    assert any("not sent again: shared='simulated' could not be reached" in note for note in raised.value.__notes__)


def test_a_store_that_forgets_gives_nothing_out_twice(virtual):
    watch = Watch()
    store = SimulatedStore()
    limits = processes(3, store, 6, rate=Rate(20, 1))

    def forget():
        for _ in range(5):
            virtual.sleep(1.7)
            store.forget()

    functions = [parallel_map(limits=one)(lambda item: watch.call(virtual, 0.3) or item) for one in limits]
    thread = virtual.start(forget)
    run_all(virtual, functions, range(40))
    virtual.join(thread)
    assert watch.most <= 6
    assert fullest(watch.starts, 1.0) <= 20


# Settings


def test_of_numbers_that_differ_the_smallest_holds_and_that_is_said_once(virtual):
    store = SimulatedStore()
    small = Limits(2, rate=Rate(5, 1), shared=store)
    parallel_map(limits=small)(lambda item: item)(1)
    watch = Watch()
    large = Limits(8, rate=Rate(9, 1), shared=store)
    ask = parallel_map(limits=large)(lambda item: watch.call(virtual, 0.05))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask.map(range(12))
        ask.map(range(3))
    (warning,) = caught
    assert str(warning.message) == (
        "shared='simulated': the smallest value among the processes applies: "
        "max_concurrency 8 here, 2 there; requests per 1 s 9 here, 5 there"
    )
    assert watch.most <= 2 and fullest(watch.starts, 1.0) <= 5
    assert large.stats.ceiling == 2


def test_other_rates_are_an_error_at_the_first_call_and_the_others_go_on(virtual):
    store = SimulatedStore()
    one = Limits(2, rpm=60, shared=store)
    ask = parallel_map(limits=one)(lambda item: item)
    ask(1)
    other = Limits(2, tpm=60, shared=store)
    ask_other = parallel_map(limits=other)(lambda item: item)
    said = (
        "every Limits of shared='simulated' must have the same rates in the same order: "
        "here they are tokens per 60 s; in another process requests per 60 s"
    )
    for attempt in (lambda: ask_other.map([1, 2]), lambda: ask_other("x"), lambda: ask_other.map([1])):
        with pytest.raises(ValueError, match=said):
            attempt()
    assert ask(2) == 2


def test_who_has_other_rates_asks_at_each_call_and_not_between_and_goes_on_when_the_others_are_gone(virtual):
    class Counting(SimulatedStore):
        asked = 0

        @override
        def exchange(self, request):
            self.asked += request.settings.rates[0].what == TOKENS
            return super().exchange(request)

    store = Counting()
    accounts = [Limits(2, rpm=60, shared=store)]
    with accounts[0]:
        pass
    ask = parallel_map(limits=Limits(2, tpm=60, shared=store))(lambda item: item)
    for attempt in (ask, ask, lambda item: ask.map([item])):
        with pytest.raises(ValueError, match="must have the same rates"):
            attempt(1)
        virtual.sleep(60.0)
    assert store.asked == 3
    accounts.clear()
    gc.collect()
    virtual.sleep(1.0)
    assert ask(1) == 1
    assert ask.map([1, 2]) == [1, 2]


# Making one


def test_what_is_no_place_is_refused_when_it_is_made():
    for wrong in ("a b", "reids://x#a", "redis://x", ""):
        with pytest.raises(ValueError, match="shared must"):
            Limits(shared=wrong)
    with pytest.raises(TypeError, match="shared must be a str or None, got 3"):
        Limits(shared=3)


def test_an_async_limiter_cannot_be_shared():
    from aiolimiter import AsyncLimiter

    with pytest.raises(TypeError, match=r"cannot be shared: write Rate\(5, 1\)"):
        Limits(rate=AsyncLimiter(5, 1), shared="openai")


def test_nothing_is_opened_before_the_first_call(tmp_path):
    path = tmp_path / "no" / "folder"
    one = Limits(4, shared=str(path))
    assert repr(one) == f"Limits(max_concurrency=4, shared={str(path)!r})"
    assert one.stats.ceiling == 4
    with pytest.raises(FileNotFoundError, match=r"the folder of shared=.* does not exist"):
        parallel_map(limits=one)(lambda item: item).map([1])


def test_no_password_is_shown():
    assert repr(Limits(shared="redis://user:secret@host/0#a")) == (
        "Limits(max_concurrency=8, shared='redis://user:***@host/0#a')"
    )


def test_what_the_environment_says_is_an_error_at_the_first_call(monkeypatch):
    monkeypatch.setenv("FANMAP_SHARED", "/no/such/folder")
    one = Limits(4, shared="openai-of-a-test")
    ask = parallel_map(limits=one)(lambda item: item)
    for attempt in (lambda: ask.map([1]), lambda: ask(1)):
        with pytest.raises(ValueError, match="FANMAP_SHARED must be an existing folder"):
            attempt()


def test_two_of_one_name_in_one_process_are_one(tmp_path):
    path = str(tmp_path / "openai")
    one, other = Limits(8, rpm=600, shared=path), Limits(4, rpm=300, max_wait=10.0, shared=path)
    assert budget_of(one) is budget_of(other)
    assert (one.max_concurrency, budget_of(one).max_wait) == (4, 10.0)

    @parallel_map(limits=one)
    def outer(item):
        return inner(item)

    @parallel_map(limits=other)
    def inner(item):
        return item + 1

    assert outer.map(range(8)) == list(range(1, 9))  # nested calls lend to each other
    assert one.everybody.members == 1
    with pytest.raises(ValueError, match="in use in this process with other rates or another classify"):
        Limits(8, tpm=600, shared=path)
    with pytest.raises(ValueError, match="in use in this process with other rates or another classify"):
        Limits(8, rpm=600, classify=lambda error: Verdict("rate"), shared=path)


def test_a_shared_one_is_pickled_as_a_name_and_no_other(tmp_path):
    one = Limits(Adaptive(2, 1, 9), rpm=600, rate=[Rate(5, 1)], max_wait=9.0, shared=str(tmp_path / "openai"))
    again = pickle.loads(pickle.dumps(one))
    assert budget_of(again) is budget_of(one)
    assert repr(again) == repr(one)
    with pytest.raises(TypeError, match="binds one process and cannot be pickled"):
        pickle.dumps(Limits(4))
    with pytest.raises(TypeError, match="binds one process and cannot be pickled"):
        pickle.dumps(Limits(4, shared=SimulatedStore()))


def test_everybody_of_one_that_is_not_shared_is_this_process():
    one = Limits(3)
    with one:
        everybody = one.everybody
    assert (everybody.members, everybody.in_flight, everybody.waiting, everybody.ceiling) == (1, 1, 0, 3)
    assert (everybody.gate, everybody.spent) == (0.0, None)


def test_one_that_nobody_has_any_more_leaves_and_its_thread_ends(tmp_path):
    path = str(tmp_path / "openai")
    before = set(threading.enumerate())
    one = Limits(2, shared=path)
    ask = parallel_map(limits=one)(lambda item: item)
    assert ask.map([1, 2]) == [1, 2]
    threads = [thread for thread in set(threading.enumerate()) - before if thread.name == "fanmap-shared"]
    assert len(threads) == 1
    watcher = Limits(2, shared=str(tmp_path / "other"))
    del one, ask
    end = time.monotonic() + 120.0
    while threads[0].is_alive() and time.monotonic() < end:  # its warm threads let go of it in their own time
        gc.collect()
        threads[0].join(0.05)
    assert not threads[0].is_alive()
    assert watcher.everybody.members == 0
    last = Limits(2, shared=path)
    assert parallel_map(limits=last)(lambda item: item).map([1]) == [1]
    assert last.everybody.members == 1


def test_the_guard_of_waiting_calls_is_finite():
    assert watching.guard is None or math.isfinite(watching.guard)


def test_the_background_of_a_shared_limits_travels_as_itself(tmp_path):
    account = Limits(2, shared=str(tmp_path / "budget"))
    again = pickle.loads(pickle.dumps(account.background))
    assert again.background is again
    assert again._budget is account._budget
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(Limits(2).background)


def test_the_smallest_end_of_the_line_in_this_process_holds(tmp_path):
    account = Limits(2, shared=str(tmp_path / "budget"), max_waiting=5)
    Limits(2, shared=str(tmp_path / "budget"), max_waiting=3)
    Limits(2, shared=str(tmp_path / "budget"))
    assert account._budget.max_waiting == 3
