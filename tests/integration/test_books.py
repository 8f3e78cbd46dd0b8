"""User code that the collector, a signal handler or a tracer runs inside a section of ours, in each of them once.

It waits there for the background loop, where a call under the same Limits wants the same books.
"""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import anyio
import pytest

from fanmap import Limits, Rate, Retry, parallel_map, partial_results, to_sync
from fanmap._drive import clock, on_top
from fanmap._drive.books import BUSY, Books
from fanmap._drive.drivers import thread_waiter
from fanmap._drive.limits.budget import Budget
from fanmap._drive.limits.limits import budget_of
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.worker import Worker
from fanmap._policy.limits.permit import RUNNING, WAITING, Permit
from fanmap._policy.runs.flow import Flow

pytestmark = pytest.mark.usefixtures("nothing_left")

SECTIONS = [
    (Budget, name)
    for name in ("_join", "_look", "_release", "_renew", "_refused", "_answered", "_failed", "_retire")
] + [
    (Flow, name)
    for name in ("start", "take", "complete", "poll", "pop_ready", "push", "end_input", "left", "stop", "close")
]  # fmt: skip


class Refused(Exception):
    status_code = 429
    response = SimpleNamespace(headers={"retry-after-ms": "1"})


class Mendable(Exception):
    status_code = 500


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.001)


def nosy(monkeypatch, owner, name, code):
    """The section runs this code once, when it is entered for the first time."""
    section, done = getattr(owner, name), []

    def wrapped(self, *args, **kwargs):
        if not done:
            done.append(threading.current_thread().name)
            code()
        return section(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)
    return done


@pytest.mark.parametrize(("owner", "name"), SECTIONS, ids=[f"{owner.__name__}.{name}" for owner, name in SECTIONS])
def test_code_inside_a_section_may_call_and_wait_for_the_background_loop(monkeypatch, owner, name):
    entered = []
    for where in ("threads", "background"):
        with monkeypatch.context() as patch:
            entered += call_inside(patch, owner, name, where)
    assert entered, "no way needs this section: nothing was tested"


def call_inside(monkeypatch, owner, name, where):
    """Runs of every kind, with calls from inside of that section; who was the first to enter it."""
    account = Limits(2, rate=Rate(1e6, 60.0, burst=1000))
    monkeypatch.setattr(budget_of(account).random, "random", lambda: 0.0)  # who was refused asks again at once
    fates = iter([Mendable(), Refused(), Mendable()])
    found = []

    def fate(item):
        error = next(fates, None)
        if error is not None:
            raise error
        return item

    @parallel_map(limits=account, retry=Retry(attempts=9, wait=0))
    def ask(item):
        return fate(item)

    @parallel_map(limits=account, retry=Retry(attempts=9, wait=0))
    async def aask(item):
        await asyncio.sleep(0)
        return fate(item)

    everybody = []

    @parallel_map(limits=account)
    def crowded(item):  # until somebody waits in line
        until(lambda: account.stats.waiting or len(everybody) >= 3)
        everybody.append(item)

    @parallel_map(limits=account)
    def inner(item):
        return item

    @parallel_map(limits=account)
    async def ainner(item):
        await asyncio.sleep(0)
        return item

    def code():
        found.append(account.stats.in_flight >= 0)
        found.append(inner(1))
        if where == "threads" or threading.current_thread().name != "fanmap-loop":
            found.append(to_sync(ainner)(2))  # what a `__del__` that closes a client does
            found.append(inner.map([3, 4]))
            found.append(ainner.map([5]))

    done = nosy(monkeypatch, owner, name, code)
    run = ask if where == "threads" else aask
    results = run.imap(iter(range(12)))
    with results:
        assert list(results) == list(range(12))
    assert run.map(range(8)) == list(range(8))
    assert run(3) == 3 if where == "threads" else to_sync(run)(3) == 3
    callers = [threading.Thread(target=crowded, args=(number,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(120)
    assert sorted(everybody) == list(range(6))
    if done:  # not every way needs every section
        assert found[:2] == [True, 1]
    stats = account.stats
    assert (stats.in_flight, stats.waiting) == (0, 0)
    return done


BETWEEN_CALLS = [
    *[(Flow, name) for name in ("take", "complete", "poll", "left")],
    *[(Run, name) for name in ("complete", "take")],
    *[(Worker, name) for name in ("step", "returned", "quit")],
    (Budget, "release"),
]


@pytest.mark.parametrize(
    ("kind", "owner", "name"),
    [
        *[(kind, *place) for kind in ("threads", "asyncio", "trio") for place in BETWEEN_CALLS],
        *[(f"{kind}, direct", Budget, "release") for kind in ("asyncio", "trio")],
    ],
)
def test_with_one_slot_only_code_on_top_of_ours_is_let_through(monkeypatch, kind, owner, name):
    """A thread or a task has the only slot; a task's loop, too, stands still until the code on top has ended."""
    account = Limits(1)
    backend, _, direct = kind.partition(", ")

    @parallel_map(limits=account)
    def plain(item):
        return item

    @parallel_map(limits=account)
    async def ask(item):
        await anyio.sleep(0)
        return item

    @parallel_map(limits=account)
    async def elsewhere(item):
        await asyncio.sleep(0)
        return item

    async def directly(items):
        return [await ask(item) for item in items]

    found = []
    done = nosy(monkeypatch, owner, name, lambda: found.extend([plain(1), to_sync(elsewhere)(2), plain.map([3])]))
    if kind == "threads":
        answers = plain.map(range(5))
    else:
        answers = anyio.run(directly if direct else ask.amap, range(5), backend=backend)
    assert answers == list(range(5))
    assert kind == "threads" or done == ["MainThread"]
    assert found == [1, 2, [3]]
    assert (account.stats.in_flight, account.stats.waiting) == (0, 0)


@pytest.mark.parametrize("name", ["_join", "_look", "look", "_may_sleep"])
def test_a_call_on_top_of_one_that_waits_does_not_wait_behind_it(monkeypatch, name):
    account = Limits(1)
    go = threading.Event()

    @parallel_map(limits=account)
    def ask(item):
        return item

    @parallel_map(limits=account)
    def first(item):
        assert go.wait(120)

    holder = threading.Thread(target=first, args=(0,))
    holder.start()
    until(lambda: account.stats.in_flight == 1)
    found = []
    nosy(monkeypatch, Budget, name, lambda: found.extend([ask(1), go.set()]))
    assert ask(2) == 2
    holder.join(120)
    assert found == [1, None]
    assert (account.stats.in_flight, account.stats.waiting) == (0, 0)


@pytest.mark.parametrize("name", ["left", "complete"])
@pytest.mark.parametrize("same", [True, False], ids=["one account", "two accounts"])
def test_a_call_on_top_of_a_worker_without_a_slot_does_not_wait_for_the_call_around_its_run(monkeypatch, name, same):
    """A worker has given its slot back and has yet to hand in a failure, or to leave: the call around its run has the
    slot, and waits for that worker."""
    account = Limits(1)
    own = account if same else Limits(1)
    reported = getattr(Run, name)

    @parallel_map(limits=account)
    def on_top_of_it(item):
        return item

    @parallel_map(limits=own)
    def inner(item):
        raise KeyError(item)

    @parallel_map(limits=account)
    def outer(item):
        return [type(one) for one in inner.map([item, item], return_exceptions=True)]

    found = []

    def first_the_code(self, worker, *rest, **more):
        if worker.plan.name == "inner" and worker._permit is None and not found:
            found.append(on_top_of_it(7))
        return reported(self, worker, *rest, **more)

    monkeypatch.setattr(Run, name, first_the_code)
    assert outer.map([1, 2]) == [[KeyError, KeyError]] * 2
    assert found == [7]
    until(lambda: account.stats.in_flight == 0)


def test_a_call_on_top_of_a_wake_that_was_not_given_yet_does_not_wait_for_whom_it_is_for(monkeypatch):
    """That one has the slot and does not know: both waited for ever."""
    account = Limits(1)
    begun, go = [], [threading.Event(), threading.Event()]
    found = []

    @parallel_map(limits=account)
    def held(number):
        begun.append(number)
        assert go[number].wait(120)

    @parallel_map(limits=account)
    def ask(item):
        return item

    threads = [threading.Thread(target=held, args=(number,), daemon=True) for number in range(2)]
    threads.append(threading.Thread(target=lambda: found.append(ask(2)), daemon=True))
    for place, thread in enumerate(threads):
        thread.start()
        until(lambda place=place: account.stats.in_flight + account.stats.waiting == place + 1)
    go[0].set()
    until(lambda: begun == [0, 1])  # the third is the first in line now, and was told that it would be woken
    nosy(monkeypatch, Budget, "act", lambda: found.append(ask(1)))
    go[1].set()
    for thread in threads:
        thread.join(120)
    assert sorted(found) == [1, 2]
    assert (account.stats.in_flight, account.stats.waiting) == (0, 0)


@pytest.mark.parametrize(("owner", "name"), [(Flow, "take"), (Flow, "complete"), (Budget, "_release")])
def test_calls_in_line_go_on_while_somebody_waits_for_them_on_top_of_a_section(monkeypatch, owner, name):
    """One more than there are slots, at a time."""
    account = Limits(1)
    under_way, most = [], []

    @parallel_map(limits=account)
    def ask(item):
        return item

    @parallel_map(limits=account)
    def counted(item):
        under_way.append(item)
        most.append(len(under_way))
        under_way.remove(item)

    async def all_done():
        while len(most) < 3:
            await asyncio.sleep(0.001)

    @parallel_map(limits=account)
    def holding():
        until(lambda: len(most) >= 3)

    others = [threading.Thread(target=counted, args=(number,)) for number in range(3)]

    def wait_for_others():
        if not account.stats.in_flight:  # else one has the free slot, and another is let out beside it
            others.insert(0, threading.Thread(target=holding))
            others[0].start()
            until(lambda: account.stats.in_flight == 1)
        for other in others[-3:]:
            other.start()
        to_sync(all_done)()

    done = nosy(monkeypatch, owner, name, wait_for_others)
    assert ask.map(range(4)) == list(range(4))
    for other in others:
        other.join(120)
    assert done and most == [1, 1, 1]
    assert (account.stats.in_flight, account.stats.waiting) == (0, 0)


def test_for_code_on_top_one_is_let_out_at_a_time_within_a_named_wait_too(monkeypatch):
    now = 100.0
    monkeypatch.setattr(clock, "now", lambda: now)
    budget = budget_of(Limits(1))
    held, waiting, other = Permit(), Permit(), Permit()
    for one in (held, waiting, other):
        budget.join(one, None)
    assert [one.state for one in (held, waiting, other)] == [RUNNING, WAITING, WAITING]
    budget.admission.close_gate(1e9, spread=0.0, apart=0.0)
    monkeypatch.setitem(on_top._waiting, -1, now)  # another thread begins to wait on top of ours
    budget.look(waiting)
    assert waiting.state == WAITING
    now += 0.2
    budget.look(waiting)
    assert waiting.state == RUNNING
    budget.look(other)
    assert other.state == WAITING
    budget.release(waiting)
    budget.look(other)
    assert other.state == RUNNING


def test_a_main_thread_that_waits_in_slices_has_waited_since_the_first_of_them(monkeypatch):
    """Else nobody would be let out for it, or only by luck: it looks up for Ctrl-C as often as others are let out."""
    monkeypatch.setattr(thread_waiter, "_SLICE", 0.01)
    waiter, stuck, over = thread_waiter.WaiterOnTop(), [], threading.Event()

    def watch():
        while not stuck and not over.wait(0.001):
            if on_top.stuck():
                stuck.append(True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(1_000):
        waiter.wait(None)
        if stuck:
            break
    over.set()
    watcher.join()
    assert stuck
    waiter.wake()
    waiter.wait(None)  # woken: from now on it waits anew
    assert waiter._since is None and not on_top.somebody_waits()


def test_of_two_that_look_at_once_one_is_let_out(monkeypatch):
    budget, both = budget_of(Limits(1)), threading.Barrier(2)
    held, *waiting = permits = Permit(), Permit(), Permit()
    for one in permits:
        budget.join(one, None)
    monkeypatch.setitem(on_top._waiting, -1, clock.now() - 1.0)  # another thread waits on top of ours

    class Preempted(dict):
        def __iter__(self):  # whoever looks who was let out is not the only one to
            seen = list(super().__iter__())
            both.wait(120)
            return iter(seen)

    budget._let_out = Preempted()
    threads = [threading.Thread(target=budget.look, args=(one,)) for one in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(one.state for one in waiting) == [WAITING, RUNNING]
    assert held.state == RUNNING


class Counter(Books):
    def __init__(self):
        super().__init__()
        self.total = 0
        self.told = []

    def act(self, thing):
        self.told.append(thing)

    def add(self, number):
        before = self.total
        for _ in range(10):
            pass
        self.total = before + number
        return self.total


def test_whoever_finds_them_taken_leaves_its_event_to_the_holder():
    books, inside, go = Counter(), threading.Event(), threading.Event()

    def slow():
        inside.set()
        assert go.wait(120)

    holder = threading.Thread(target=books.do, args=(slow,))
    holder.start()
    assert inside.wait(120)
    assert books.do(books.add, 1) is BUSY
    books.post(books.add, 2)
    assert books.total == 0
    assert not books.held_here()
    go.set()
    holder.join()
    assert books.total == 2
    assert books.do(books.add, 1) == 3


def test_what_was_left_comes_before_what_is_asked_next():
    """Else an item of an iterator has the index of the one that was read before it."""
    books, order = Counter(), []
    books._holder[0] = (0,)  # another thread, which will have let go and not yet looked whether anything was left
    books.post(order.append, "first")
    books._holder.clear()
    books.do(order.append, "second")
    books.post(order.append, "third")
    assert order == ["first", "second", "third"]


def test_on_top_of_ones_own_section_nothing_is_done_before_it_ends():
    books = Counter()
    seen = []

    def section():
        seen.append((books.do(books.add, 1) is BUSY, books.held_here()))
        books.post(books.add, 5)
        seen.append(books.total)
        books.after.append("done")

    books.do(section)
    assert seen == [(True, True), 0]
    assert (books.total, books.told, books.held_here()) == (5, ["done"], False)


def test_an_event_that_fails_lets_go():
    books = Counter()
    with pytest.raises(ZeroDivisionError):
        books.do(lambda: 1 / 0)
    assert books.do(books.add, 1) == 1


def test_an_event_that_is_cut_off_is_run_again():
    books = Counter()
    tries = []

    def interrupted():
        tries.append(1)
        if len(tries) == 1:
            raise KeyboardInterrupt
        books.add(1)

    def section():
        books.post(interrupted)

    with pytest.raises(KeyboardInterrupt):
        books.do(section)
    books.work_off()
    assert (len(tries), books.total) == (2, 1)


def test_many_threads_lose_no_event():
    books = Counter()

    def work():
        for _ in range(2_000):
            books.post(books.add, 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert books.total == 16_000


def test_what_was_said_while_another_worker_had_the_books_is_kept_by_a_run_that_waits_for_nobody(monkeypatch):
    """Ctrl-C out of item 0; item 1's worker is preempted with the books in hand, and item 2 ends meanwhile."""
    begun, ends, held, said, on = threading.Barrier(3), *(threading.Event() for _ in range(4))
    complete, post, stop, settled = Flow.complete, Run.post, Run.stop, Run.settled
    main = threading.current_thread()

    @parallel_map(max_concurrency=3)
    def ask(item):
        begun.wait(60)
        if item == 0:
            raise KeyboardInterrupt
        assert (ends if item == 1 else held).wait(60)
        return f"answer {item}"

    def slowly(self, record, *args):
        if record[0] == 1:
            held.set()
            assert on.wait(60)
        return complete(self, record, *args)

    def posting(self, event, *args):
        post(self, event, *args)
        if getattr(event, "__func__", None) is slowly:
            said.set()

    def stopping(self, reason):
        if threading.current_thread() is main:  # the reader has seen the end
            ends.set()
            assert said.wait(60)
        stop(self, reason)

    def looking(self):
        answer = settled(self)
        if not answer:
            on.set()
        return answer

    for name, patch in (("post", posting), ("stop", stopping), ("settled", looking)):
        monkeypatch.setattr(Run, name, patch)
    monkeypatch.setattr(Flow, "complete", slowly)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            ask.map(range(3))
    finally:
        on.set()
    assert partial_results(caught.value) == {1: "answer 1", 2: "answer 2"}
