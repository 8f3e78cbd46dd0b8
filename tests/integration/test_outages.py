"""A minute without a server costs no item, and a server that is dead costs one wait: in virtual time, with `Retry`."""

from __future__ import annotations

import asyncio

import pytest

from fanmap import Limits, NotRun, Retry, parallel_map
from fanmap.testing import VirtualTime

pytestmark = pytest.mark.usefixtures("nothing_left")


class Down(Exception):
    status_code = 500


class Server:
    """Answers after 0.3 s; between two moments, and to some inputs always, with a 500."""

    def __init__(self, virtual, *, begin=0.0, end=0.0, poison=()):
        self.virtual, self.begin, self.end, self.poison = virtual, begin, end, poison
        self.requests = []

    def answer(self, item):
        now = self.virtual.now()
        self.requests.append((now, item))
        if self.begin < now < self.end or item in self.poison:
            raise Down
        return item


def play(kind, workers, inputs, retry, *, max_wait=300.0, keep=True, **server):
    with VirtualTime() as virtual:
        server = Server(virtual, **server)
        limits = Limits(workers, max_wait=max_wait)

        @parallel_map(limits=limits, retry=retry)
        def ask(item):
            virtual.sleep(0.3)
            return server.answer(item)

        @parallel_map(limits=limits, retry=retry)
        async def aask(item):
            await asyncio.sleep(0.3)
            return server.answer(item)

        if kind == "def":
            found = ask.map(inputs, return_exceptions=keep)
        else:
            found = virtual.run(aask.amap(inputs, return_exceptions=keep))
        return found, server, virtual.now()


@pytest.fixture(params=["def", "async"])
def kind(request):
    return request.param


@pytest.mark.parametrize(("workers", "items"), [(1, 60), (8, 400), (64, 1_000)])
def test_a_minutes_outage_loses_no_item_and_is_probed_one_at_a_time(kind, workers, items):
    found, server, _ = play(kind, workers, range(items), Retry(), begin=5.0, end=65.0)
    assert found == list(range(items))
    during = sum(5.0 < at < 65.0 for at, _ in server.requests)
    assert during <= workers + 20


def test_an_outage_from_the_first_call_on_loses_no_item(kind):
    found, _, _ = play(kind, 4, range(20), Retry(), begin=-1.0, end=60.0)
    assert found == list(range(20))


@pytest.mark.parametrize("items", [200, 10_000])
def test_a_dead_server_ends_the_run_after_max_wait_however_many_items_are_left(kind, items):
    found, server, seconds = play(kind, 6, range(items), Retry(attempts=3), begin=-1.0, end=1e9)
    assert 300.0 < seconds < 320.0
    assert len(server.requests) < 80
    kinds = {type(one) for one in found}
    assert kinds == {Down, NotRun}
    assert sum(type(one) is Down for one in found) < 80


def test_a_dead_server_raises_what_it_said_where_failures_are_raised(kind):
    with pytest.raises(Down):
        play(kind, 6, range(200), Retry(attempts=3), keep=False, begin=-1.0, end=1e9)


def test_a_shorter_max_wait_ends_it_sooner(kind):
    _, _, seconds = play(kind, 6, range(200), Retry(attempts=3), max_wait=40.0, begin=-1.0, end=1e9)
    assert 40.0 < seconds < 60.0


@pytest.mark.parametrize("workers", [1, 4])
def test_eight_items_in_a_row_that_always_fail_lose_no_other(kind, workers):
    poison = range(50, 58)
    found, server, _ = play(kind, workers, range(200), Retry(), poison=poison)
    assert [item for item, one in enumerate(found) if isinstance(one, Down)] == list(poison)
    assert [one for one in found if not isinstance(one, Down)] == [i for i in range(200) if i not in poison]
    for item in poison:
        assert 4 <= sum(asked == item for _, asked in server.requests) <= 4 + 12


def test_an_item_that_always_fails_has_one_more_attempt_at_most_where_others_are_answered(kind):
    found, server, _ = play(kind, 1, range(20), Retry(attempts=3), poison={7})
    assert [item for item, one in enumerate(found) if isinstance(one, Down)] == [7]
    assert sum(asked == 7 for _, asked in server.requests) == 4


@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("attempts", [2, 4])
@pytest.mark.parametrize("workers", [1, 4])
def test_an_outage_in_which_no_more_items_may_be_taken_is_probed_all_the_same(method, attempts, workers):
    """The reader waits for the first of them, so that no other had room: nobody probed, and it waited for ever."""
    with VirtualTime() as virtual:
        server = Server(virtual, begin=-1.0, end=100.0)

        @parallel_map(max_concurrency=workers, retry=Retry(attempts))
        def ask(item):
            virtual.sleep(0.3)
            return server.answer(item)

        found = [getattr(one, "value", one) for one in getattr(ask, method)(range(300))]
    assert sorted(found) == list(range(300))


def test_the_last_item_has_no_more_than_its_attempts(kind):
    found, server, _ = play(kind, 1, range(5), Retry(attempts=3), poison={4})
    assert isinstance(found[4], Down)
    assert sum(asked == 4 for _, asked in server.requests) == 3


def test_without_retry_each_failure_is_its_items_own(kind):
    found, server, _ = play(kind, 4, range(20), None, begin=-1.0, end=1e9)
    assert all(isinstance(one, Down) for one in found)
    assert len(server.requests) == 20


def test_a_run_that_is_stopped_in_an_outage_hands_out_the_failures_of_what_was_set_aside():
    with VirtualTime() as virtual:
        server = Server(virtual, begin=-1.0, end=1e9)

        @parallel_map(max_concurrency=2, retry=Retry(attempts=2))
        def ask(item):
            virtual.sleep(0.3)
            return server.answer(item)

        results = ask.as_completed(range(50))
        stopper = virtual.start(lambda: (virtual.sleep(30.0), results.stop()))
        outcomes = list(results)
        virtual.join(stopper)
    tried = {item for _, item in server.requests}
    assert {one.index for one in outcomes if isinstance(one.error, Down)} == tried
    assert all(isinstance(one.error, (Down, NotRun)) for one in outcomes)


@pytest.mark.parametrize(("silence", "answered"), [(400.0, 20), (10.0, 0)])
def test_a_run_long_after_an_outage_is_judged_by_what_it_sees_itself(silence, answered):
    """One failure in it is one failure; soon after the outage it is still that."""
    with VirtualTime() as virtual:
        server = Server(virtual, begin=-1.0, end=1e9)
        limits = Limits(4)

        @parallel_map(limits=limits, retry=Retry())
        def ask(item):
            virtual.sleep(0.3)
            return server.answer(item)

        assert not any(isinstance(one, int) for one in ask.map(range(20), return_exceptions=True))
        virtual.sleep(silence)
        server.end = virtual.now() + 0.5  # the first calls still fail
        found = ask.map(range(20), return_exceptions=True)
    assert sum(isinstance(one, int) for one in found) == answered


@pytest.mark.parametrize("way", ["imap", "as_completed"])
@pytest.mark.parametrize("bad", [31, 32])
def test_a_window_full_of_items_that_always_fail_costs_no_other(way, bad):
    """They end with their failures after `max_wait`; none that is not tried would know of it."""
    with VirtualTime() as virtual:
        server = Server(virtual, poison=range(bad))

        @parallel_map(limits=Limits(4), retry=Retry(attempts=3))
        def ask(item):
            virtual.sleep(0.3)
            return server.answer(item)

        inputs = iter(range(100))
        if way == "imap":
            found = list(ask.imap(inputs, return_exceptions=True))
        else:
            found = [outcome.error or outcome.value for outcome in ask.as_completed(inputs)]
    assert sorted(one for one in found if not isinstance(one, Down)) == list(range(bad, 100))
    assert len(found) == 100


def test_eight_items_that_are_always_refused_cost_no_other_though_they_hold_up_the_window():
    class Refused(Exception):
        status_code = 429

    with VirtualTime() as virtual:

        @parallel_map(limits=Limits(4))
        def ask(item):
            virtual.sleep(0.3)
            if item < 8:
                raise Refused
            return item

        found = list(ask.imap(iter(range(200)), return_exceptions=True))
    assert [one for one in found if not isinstance(one, Refused)] == list(range(8, 200))


def test_a_loop_whose_input_was_not_read_to_its_end_says_so():
    with VirtualTime() as virtual:
        server = Server(virtual, begin=5.0, end=1e9)

        @parallel_map(limits=Limits(4), retry=Retry(attempts=3))
        def ask(item):
            virtual.sleep(0.3)
            return server.answer(item)

        with pytest.warns(UserWarning, match="the rest of the input of ask was not read, as the run was stopped: Down"):
            found = [outcome.index for outcome in ask.as_completed(iter(range(10_000)))]
    assert len(found) == len(set(found)) < 200
