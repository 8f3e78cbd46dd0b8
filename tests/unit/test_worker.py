"""A run's worker, one item after the other, with exact times; the run it works for is a list of what to hand out."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
import tenacity
from tests.unit.scenes import Fails, Half, fixed_clock, read_verdict

from fanmap import Limits, NotRun, Rate, Retry, Verdict
from fanmap._drive.calls.direct import Single, direct_arguments
from fanmap._drive.calls.plan import AGAIN, BACK_OFF, CALL, CALLING, END, ENDED, FAILED, IN_LINE, NEW, WAIT, Plan
from fanmap._drive.calls.scope import TransferableScope, current_scope
from fanmap._drive.limits.limits import budget_of
from fanmap._drive.runs.worker import Worker
from fanmap._policy.limits.permit import RELEASED, RUNNING, THREADS
from fanmap._policy.runs.attempt import Attempts
from fanmap._policy.runs.inputs import Unfinished

pytestmark = pytest.mark.usefixtures("clock")
clock = fixed_clock
near = pytest.approx


class Run:
    """Hands out what it was given, and keeps what it is told."""

    def __init__(self, *coming):
        self.coming = deque(coming)
        self.deadline = None
        self.records, self.stops, self.back, self.aside, self.interrupts, self.considered = [], [], [], [], [], []
        self.answers = 0
        self.more = self.stops_now = self.keeps = self.others = self.waits = False
        self.cut = None
        self.flow = self  # which answers the questions of a worker
        self.meanwhile = lambda: None

    def take(self, worker):
        assert worker._phase == NEW  # what a run sees of a worker that has no item
        return self.coming.popleft() if self.coming else END

    def complete(self, worker, record, *, stop=False):
        assert worker._phase == NEW
        self.records.append(record)
        self.stops.append(stop)
        self.meanwhile()
        return self.take(worker)

    def put_back(self, unfinished):
        self.back.append(unfinished)

    def set_aside(self, unfinished):
        self.aside.append(unfinished)

    def answered(self):
        self.answers += 1

    def has_more(self):
        return self.more

    def has_others(self):
        return self.more or bool(self.aside)

    def others_first(self):
        return self.others

    def has_less_tried(self, calls):
        return self.more and calls > 0

    def waits_untried(self):
        return self.waits

    def stopping(self):
        return self.stops_now

    def may_start(self, index):
        return self.cut is None or index < self.cut

    def keeps_failures(self):
        return self.keeps

    def interrupt(self, error):
        self.interrupts.append(error)

    def consider(self, hint, item, error):
        self.considered.append((hint, item, error))


def limits(most=1, **settings):
    made = Limits(most, classify=read_verdict, **settings)
    budget_of(made).random = Half()
    return budget_of(made)


def hire(budget, *coming, retry=None, arguments=None, **plan):
    """A worker of a run, in a context of its own."""
    run = Run(*coming)
    current_scope.set(None)
    worker = Worker(Plan("ask", lambda item: item, arguments, budget, retry=retry, **plan), None, THREADS, run)
    return worker, run


def busy(budget):
    here = current_scope.set(None)
    other = Single(Plan("ask", lambda item: item, direct_arguments, budget), (), {}, THREADS)
    assert other.step() is CALL
    current_scope.reset(here)
    return other


def fail(worker, kind="transient", wait=None):
    error = Fails(Verdict(kind, wait))
    return error, worker.raised(error)


def fields(unfinished):
    one = unfinished
    return one.index, one.item, one.queued, one.started, one.calls, one.refusals, one.until


def as_argument(item):
    return (item,), {}


# Item after item


def test_a_worker_keeps_its_slot_from_item_to_item(clock):
    budget = limits()
    worker, run = hire(budget, (0, "a", 99.0), (1, "b", 101.0), (2, "c", 103.0))
    assert (worker.index, worker.queued) == (-1, 100.0)
    assert worker.step() is CALL
    assert (worker.index, worker.item, worker.started, worker.begun()) == (0, "a", 100.0, True)
    permit = worker._permit
    clock.now = 102.0
    assert worker.returned("A") is CALL
    assert (worker.index, worker.item, worker.started, worker.queued) == (1, "b", 102.0, 101.0)
    assert (worker._permit, permit.state, current_scope.get().permit) == (permit, RUNNING, permit)
    clock.now = 102.5
    assert worker.returned("B") is CALL
    assert (worker.started, worker._calls) == (103.0, 1)  # taken after the last one had ended
    assert worker.returned("C") is END
    assert run.records == [
        (0, "A", None, 1, 99.0, 100.0, 102.0),
        (1, "B", None, 1, 101.0, 102.0, 102.5),
        (2, "C", None, 1, 103.0, 103.0, 102.5),
    ]
    assert (permit.state, worker._permit, worker._phase, worker.delay) == (RELEASED, None, NEW, None)
    tally = worker.tally
    assert (tally.started, tally.done, tally.failed, tally.busy) == (3, 3, 0, 2.0)
    assert budget.stats().in_flight == 0


def test_the_slowest_calls_are_known_and_no_others(clock):
    worker, _run = hire(limits(), *((index, "q", 0.0) for index in range(8)))
    worker.step()
    for seconds in (3, 1, 5, 2, 4, 1, 6):
        clock.now += seconds
        worker.returned(None)
    assert worker.tally.slowest == [(6, 6), (5, 2), (4, 4), (3, 0), (2, 3)]
    assert worker.tally.busy == 22


def test_failures_are_among_the_slowest_and_what_never_began_is_not(clock):
    worker, run = hire(limits(), (0, "a", 0.0), (1, "b", 0.0))
    worker.step()
    clock.now += 3
    assert fail(worker, "permanent")[1] is CALL
    assert (worker.tally.slowest, worker.tally.busy) == ([(3, 0)], 3)
    budget = limits(rate=Rate(1, 1.0, cost=lambda q: q))
    worker, run = hire(budget, (0, 9, 95.0), arguments=as_argument)
    assert (worker.step(), worker.step()) == (AGAIN, END)
    index, value, error, attempts, queued, _started, ended = run.records[0]
    assert (index, value, type(error), attempts, queued, ended) == (0, None, ValueError, 0, 95.0, 103.0)
    assert (worker.tally.slowest, worker.tally.busy) == ([], 0)


def test_a_word_instead_of_an_item_is_told_to_the_driver_and_holds_no_slot():
    budget = limits()
    worker, _run = hire(budget, WAIT, (0, "a", 0.0), WAIT)
    worker.delay = 3.0
    assert (worker.step(), worker.delay, worker._phase) == (WAIT, None, NEW)
    assert worker.step() is CALL
    worker.delay = 3.0
    assert (worker.returned(1), worker.delay, budget.stats().in_flight) == (WAIT, None, 0)
    assert current_scope.get() is None or current_scope.get().permit is None


def test_where_somebody_waits_the_slot_goes_round():
    budget = limits()
    worker, run = hire(budget, (0, "a", 0.0), (1, "b", 0.0))
    worker.step()
    other, _ = hire(budget, (0, "x", 0.0))
    woken = []
    assert other.step() is WAIT
    other.attach(lambda: woken.append(1))
    assert worker.returned("A") is WAIT
    assert (woken, worker._phase, worker.index) == ([1], IN_LINE, 1)
    assert other.step() is CALL
    assert run.records[0][:4] == (0, "A", None, 1)


def test_an_answer_is_told_to_the_run_where_somebody_wants_to_know():
    budget = limits(8)
    worker, run = hire(budget, (0, "a", 0.0), (1, "b", 0.0))
    worker.step()
    fail(busy(budget), "concurrency")
    assert worker.returned("A") is CALL
    assert (run.answers, budget.fates()[0]) == (1, 1)


def test_with_retry_a_steady_worker_keeps_its_slot_too():
    budget = limits()
    worker, run = hire(budget, (0, "a", 0.0), (1, "b", 0.0), retry=Retry())
    worker.step()
    permit = worker._permit
    assert (worker.returned("A"), worker._permit, worker.index) == (CALL, permit, 1)
    assert run.answers == 0


def test_a_result_that_is_not_wanted_is_asked_for_again():
    worker, run = hire(limits(), (0, "a", 0.0), retry=Retry(on=tenacity.retry_if_result(lambda value: value == "no")))
    worker.step()
    assert (worker.returned("no"), worker.delay, run.records) == (WAIT, 0.25, [])


def test_a_coroutine_out_of_a_def_is_that_items_failure():
    async def answer():
        return 1

    worker, run = hire(limits(), (0, "a", 0.0), (1, "b", 0.0), plain=True)
    worker.step()
    assert worker.returned(answer()) is CALL
    assert type(run.records[0][2]) is TypeError
    other, run = hire(limits(), (0, "a", 0.0))
    other.step()
    made = answer()
    assert (other.returned(made), run.records[0][1]) == (END, made)
    made.close()


def test_a_call_that_took_no_time_is_none_of_the_slowest():
    worker, _run = hire(limits(), (0, "a", 0.0), (1, "b", 0.0))
    worker.step()
    worker.returned("A")
    fail(worker, "permanent")
    assert worker.tally.slowest == []


def test_who_came_while_an_outcome_was_told_is_not_passed_over():
    budget = limits()
    worker, run = hire(budget, (0, "a", 0.0), (1, "b", 0.0))
    worker.step()
    other, _ = hire(budget, (0, "x", 0.0))
    run.meanwhile = other.step
    assert worker.returned("A") is WAIT
    assert other.step() is CALL


def test_an_item_on_a_kept_slot_has_not_waited(clock):
    for rates in ([], [Rate(10, 10.0, burst=10)]):
        worker, _run = hire(limits(rate=rates), (0, "a", 0.0), (1, "b", 0.0), retry=Retry())
        worker.step()
        permit = worker._permit
        clock.now += 5
        assert (worker.returned("A"), worker._permit) == (CALL, permit)
        tally = worker.tally
        assert (tally.for_slot, tally.for_rate, tally.at_gate) == (0, 0, 0)


# With rates: settle, then charge the next


def test_with_rates_the_slot_is_kept_and_the_next_item_charged(clock):
    budget = limits(1, rate=Rate(10, 10.0, burst=10, cost=lambda q: q, usage=lambda reply: reply))
    worker, run = hire(budget, (0, 4, 0.0), (1, 6, 0.0), (2, 5, 0.0), arguments=as_argument)
    worker.step()
    permit = worker._permit
    assert worker.returned(2) is CALL
    assert (worker._permit, [charge.cost for charge in permit.charges]) == (permit, [6])
    assert budget.admission._buckets[0]._tat == 108.0  # 2 as it was told, and 6
    clock.now = 101.0
    assert worker.returned(6) is WAIT  # 3 are left for 5
    assert (permit.state, worker._permit.state != RUNNING, worker.delay) == (RELEASED, True, 2.0)
    assert [record[:2] for record in run.records] == [(0, 2), (1, 6)]


def test_a_cost_that_cannot_be_told_fails_its_item_and_gives_the_slot_back():
    budget = limits(1, rate=Rate(10, 10.0, burst=10, cost=lambda q: q, usage=lambda reply: reply))
    worker, run = hire(budget, (0, 4, 0.0), (1, 11, 0.0), (2, 1, 0.0), arguments=as_argument)
    worker.step()
    assert (worker.returned(2), worker._phase, budget.stats().in_flight) == (AGAIN, FAILED, 0)
    assert budget.admission._buckets[0]._tat == 102.0
    assert (worker.step(), worker.index, worker._phase) == (CALL, 2, CALLING)
    assert [type(record[2]) for record in run.records] == [type(None), ValueError]


def test_with_rates_an_item_that_came_back_is_begun_in_a_new_permit():
    budget = limits(1, rate=Rate(10, 10.0, burst=10, cost=lambda q: q, usage=lambda reply: reply))
    back = Unfinished(7, 3, 90.0, 95.0, 1, 0, None, 96.0)
    worker, _run = hire(budget, (0, 4, 0.0), back, arguments=as_argument)
    worker.step()
    permit = worker._permit
    assert (worker.returned(2), worker.index, worker._permit is permit) == (CALL, 7, False)
    assert (permit.state, budget.admission._buckets[0]._tat) == (RELEASED, 105.0)


def test_a_refused_rate_is_reported_when_it_is_answered_again():
    budget = limits(1, rate=Rate(10, 10.0, burst=10))
    worker, run = hire(budget, (0, "a", 0.0), (1, "b", 0.0), (2, "c", 0.0))
    worker.step()
    budget.failed(100.0)
    assert not budget.admission.steady
    assert (worker.returned("A"), run.answers, budget.failures_in_a_row()) == (CALL, 1, 0)
    assert budget.admission.steady
    assert (worker.returned("B"), run.answers) == (CALL, 1)


# A slot that a call inside has, or had


def test_a_slot_that_is_lent_when_its_item_ends_stays_with_the_call_inside():
    for rates in ([], [Rate(10, 10.0, burst=10)]):
        budget = limits(2, rate=rates)
        worker, _run = hire(budget, (0, "a", 0.0), (1, "b", 0.0))
        worker.step()
        inner = Single(Plan("inner", lambda item: item, direct_arguments, budget), (), {}, THREADS)
        assert inner.step() is CALL
        lender = worker._permit
        assert worker.returned("A") is CALL
        assert (worker._permit is lender, lender.state, worker.index) == (False, RELEASED, 1)
        assert budget.stats().in_flight == 2
        inner.quit()
        assert budget.stats().in_flight == 1


def test_a_slot_that_a_call_inside_has_claimed_is_gone():
    for retry in (None, Retry()):
        budget = limits(2)
        worker, run = hire(budget, (0, "a", 0.0), (1, "b", 0.0), scope=TransferableScope, retry=retry)
        worker.step()
        permit = worker._permit
        inner = Single(Plan("inner", lambda item: item, direct_arguments, budget), (), {}, THREADS)
        assert inner.step() is CALL
        assert inner._permit is permit
        assert worker.returned("A") is CALL
        assert (worker._permit is permit, permit.state, budget.stats().in_flight) == (False, RUNNING, 2)
        assert run.records[0][:4] == (0, "A", None, 1)


def test_a_transferable_slot_is_kept_where_nobody_claimed_it():
    worker, _run = hire(limits(), (0, "a", 0.0), (1, "b", 0.0), scope=TransferableScope)
    worker.step()
    scope, permit = current_scope.get(), worker._permit
    assert (worker.returned("A"), worker._permit, scope.claim()) == (CALL, permit, None)
    assert current_scope.get() is not scope


# A new thread, task or context


def test_a_worker_resumes_with_what_its_last_item_came_to():
    worker, run = hire(limits(), (0, "a", 0.0), (1, "b", 0.0), (2, "c", 0.0))
    assert worker.resume() is CALL
    worker.report = ("A", None)
    assert (worker.resume(), worker.report) == (CALL, None)
    error = Fails(Verdict("permanent"))
    worker.report = (None, error)
    assert (worker.resume(), worker.report) == (CALL, None)
    assert [record[1:3] for record in run.records] == [("A", None), (None, error)]


# Failures


def test_a_failure_goes_to_the_run_and_the_next_item_begins(clock):
    budget = limits()
    hint = "a hint"
    worker, run = hire(budget, (0, "a", 90.0), (1, "b", 0.0), hint=hint)
    worker.step()
    clock.now += 2
    error, word = fail(worker, "permanent")
    assert (word, run.records, run.stops) == (CALL, [(0, None, error, 1, 90.0, 100.0, 102.0)], [False])
    assert run.considered == [(hint, "a", error)]
    assert (worker.tally.failed, worker.tally.done, worker.queued) == (1, 1, 0.0)


def test_a_failure_without_a_hint_is_not_considered():
    worker, run = hire(limits(), (0, "a", 90.0))
    worker.step()
    fail(worker, "permanent")
    assert run.considered == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_ctrl_c_interrupts_the_run(error):
    worker, run = hire(limits(), (0, "a", 90.0), hint="hint")
    worker.step()
    assert worker.raised(error) is END
    assert (run.interrupts, run.records[0][2], run.considered) == ([error], error, [])


def test_a_cancellation_is_that_items_outcome():
    worker, run = hire(limits(), (0, "a", 90.0), hint="hint")
    worker.step()
    error = asyncio.CancelledError()
    assert worker.raised(error) is END
    assert (run.interrupts, run.records[0][2]) == ([], error)


@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration()])
def test_what_would_pass_for_the_end_is_no_such_thing(error):
    worker, run = hire(limits(), (0, "a", 90.0), hint="hint")
    worker.step()
    worker.raised(error)
    said = run.records[0][2]
    assert (type(said), str(said)) == (RuntimeError, f"ask raised {type(error).__name__}")
    assert (said.__cause__, run.considered) == (error, [])


@pytest.mark.parametrize(("kind", "stop"), [("spent", True), ("forbidden", False), ("permanent", False)])
def test_a_spent_account_stops_the_run(kind, stop):
    worker, run = hire(limits(), (0, "a", 90.0))
    worker.step()
    fail(worker, kind)
    assert run.stops == [stop]


def test_eight_denials_in_a_row_stop_the_run():
    worker, run = hire(limits(), *((index, "q", 0.0) for index in range(9)))
    worker.step()
    for _ in range(8):
        fail(worker, "forbidden")
    assert run.stops == [False] * 7 + [True]


@pytest.mark.parametrize(("kind", "wait"), [("rate", 11.0), ("permanent", 11.0)])
def test_a_wait_that_is_too_long_stops_the_run(kind, wait):
    worker, run = hire(limits(max_wait=10.0), (0, "a", 90.0))
    worker.step()
    fail(worker, kind, wait)
    assert run.stops == [True]


def test_a_gate_too_far_away_stops_the_run():
    budget = limits(max_wait=10.0)
    budget.admission.close_gate(200.0, spread=0.0, apart=0.0)
    worker, run = hire(budget, (0, "a", 90.0))
    assert (worker.step(), worker.step()) == (AGAIN, END)
    assert (type(run.records[0][2]), run.stops, run.records[0][3]) == (NotRun, [True], 0)


def test_an_outage_that_lasts_too_long_stops_the_run(clock):
    budget = limits(max_wait=10.0)
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry(attempts=99))
    word = worker.step()
    while word is not END:
        _, word = fail(worker)
        while word is WAIT:
            clock.now += worker.delay
            word = worker.step()
    assert run.stops == ["unanswered"]


@pytest.mark.parametrize(("deadline", "word"), [(100.24, END), (100.25, WAIT), (None, WAIT)])
def test_nothing_is_repeated_beyond_the_deadline(deadline, word):
    for retry, kind in ((Retry(), "transient"), (Retry(on=tenacity.retry_if_result(lambda value: True)), None)):
        worker, run = hire(limits(), (0, "a", 90.0), retry=retry)
        run.deadline = deadline
        worker.step()
        said = worker.returned("no") if kind is None else fail(worker)[1]
        assert said is word
        assert len(run.records) == (word is END)
        if kind is None and word is END:
            assert type(run.records[0][2]) is tenacity.RetryError


@pytest.mark.parametrize(("deadline", "word"), [(100.2, END), (100.5, WAIT)])
def test_a_refusal_is_not_waited_for_beyond_the_deadline(deadline, word):
    worker, run = hire(limits(), (0, "a", 90.0))
    run.deadline = deadline
    worker.step()
    assert fail(worker, "rate")[1] is word


# Outages


def test_an_item_whose_attempts_run_out_in_an_outage_is_set_aside(clock):
    budget = limits()
    worker, run = hire(budget, (0, "a", 90.0), (1, "b", 95.0), retry=Retry(attempts=9))
    word = worker.step()
    for _ in range(8):
        assert fail(worker)[1] is WAIT
        clock.now += worker.delay
        assert worker.step() is CALL
    assert budget.outage()
    at = clock.now
    _, word = fail(worker)
    assert (word, worker.index, run.records) == (WAIT, 1, [])  # behind the gate of the next probe
    assert fields(run.aside[0]) == (0, "a", 90.0, at, 9, 0, at)
    assert run.aside[0].attempts.over
    assert (worker._attempts, worker._calls, budget.stats().waiting) == (None, 0, 1)


@pytest.mark.parametrize(
    ("attempts", "more", "others", "aside"),
    [(2, True, 0, True), (2, False, 0, False), (1, True, 0, False), (1, True, 1, True), (3, True, 0, True)],
)
def test_one_of_which_nobody_knows_whether_it_is_its_own_fault_is_set_aside_where_others_can_tell(
    attempts, more, others, aside, clock
):
    budget = limits()
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry(attempts=attempts))
    run.more = more
    for _ in range(others):
        budget.failed(100.0)
    worker.step()
    for _ in range(attempts - 1):
        fail(worker)
        clock.now += worker.delay
        worker.step()
    assert fail(worker)[1] is END
    assert (len(run.aside), len(run.records)) == (aside, not aside)
    assert budget.stats().in_flight == 0


def test_one_that_failed_while_others_were_answered_has_failed(clock):
    budget = limits()
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry(attempts=2))
    run.more = True
    worker.step()
    fail(worker)
    clock.now += worker.delay
    budget.answered(busy_permit(budget), clock.now)
    worker.step()
    error, word = fail(worker)
    assert (word, run.aside, run.records[0][2]) == (END, [], error)


def busy_permit(budget):
    other = busy(budget)
    permit = other._permit
    other.quit()
    return permit


def test_one_that_failed_more_often_than_all_in_a_row_has_failed(clock):
    budget = limits()
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry(attempts=3))
    run.more = True
    worker.step()
    for number in range(2):
        fail(worker)
        clock.now += worker.delay
        if not number:
            budget.answered(busy_permit(budget), clock.now)
        worker.step()
    assert fail(worker)[1] is END
    assert (run.aside, len(run.records)) == ([], 1)


def test_a_failure_that_tells_of_no_outage_is_not_set_aside():
    budget = limits()
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry(attempts=1, on=Fails))
    run.more = True
    for _ in range(5):
        budget.failed(100.0)
    worker.step()
    assert fail(worker, "permanent")[1] is END
    assert (run.aside, len(run.records)) == ([], 1)


def test_refused_calls_are_no_attempts_of_one_that_fails(clock):
    worker, run = hire(limits(), (0, "a", 90.0))
    worker.step()
    fail(worker, "rate")
    clock.now += worker.delay
    worker.step()
    fail(worker, "permanent")
    assert run.records[0][3] == 1


def test_a_failure_for_want_of_wanting_is_not_set_aside():
    budget = limits()
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry(on=KeyError))
    run.more = True
    for _ in range(5):
        budget.failed(100.0)
    worker.step()
    assert fail(worker)[1] is END
    assert (len(run.aside), len(run.records)) == (0, 1)


def test_an_item_that_was_set_aside_has_one_more_attempt(clock):
    attempts = Attempts(Retry(attempts=2, total=5.0), 50.0)
    for _ in range(2):
        attempts.failed(Fails(Verdict("transient")), Verdict("transient"), 51.0, 0.5)
    assert attempts.over
    back = Unfinished(0, "a", 90.0, 95.0, 2, 0, attempts, 96.0)
    worker, run = hire(limits(), back, retry=Retry(attempts=2, total=5.0))
    assert worker.step() is CALL
    assert (attempts.over, attempts.count, attempts.time_left(100.0)) == (False, 1, 5.0)
    assert fail(worker)[1] is END
    assert run.records[0][3] == 3


# An item that comes back


def test_one_that_was_never_made_begins():
    worker, _run = hire(limits(), Unfinished(3, "a", 90.0, 95.0, 0, 0, None, 999.0))
    assert worker.step() is CALL
    assert (worker.index, worker.item, worker.queued, worker.started) == (3, "a", 90.0, 100.0)


@pytest.mark.parametrize("until", [99.0, 100.0])
def test_one_whose_time_has_come_goes_on(until):
    attempts = Attempts(None, 90.0)
    worker, run = hire(limits(), Unfinished(3, "a", 90.0, 95.0, 2, 1, attempts, until))
    assert worker.step() is CALL
    assert (worker.attempts, worker._calls, worker._attempts, worker.tally.backing_off) == (2, 3, attempts, 0)
    assert worker.returned("A") is END
    assert run.records == [(3, "A", None, 2, 90.0, 100.0, 100.0)]


def test_one_whose_time_has_not_come_is_waited_for(clock):
    worker, _run = hire(limits(), Unfinished(3, "a", 90.0, 95.0, 1, 1, None, 107.0))
    assert (worker.step(), worker.delay, worker._phase, worker.tally.backing_off) == (WAIT, 7.0, BACK_OFF, 1)
    assert (worker.started, worker.begun(), worker.timings()) == (95.0, True, (0, 90.0, 95.0))
    clock.now = 107.0
    assert (worker.step(), worker.tally.backing_off) == (CALL, 0)


def test_one_whose_attempts_are_not_over_has_no_more_than_it_had():
    attempts = Attempts(Retry(), 50.0)
    attempts.failed(Fails(Verdict("transient")), Verdict("transient"), 51.0, 0.5)
    worker, _run = hire(limits(), Unfinished(3, "a", 90.0, 95.0, 1, 0, attempts, 99.0), retry=Retry())
    assert (worker.step(), attempts.count, attempts.time_left(100.0)) == (CALL, 1, 550.0)


def test_it_comes_after_a_success_too():
    budget = limits()
    worker, _run = hire(budget, (0, "a", 0.0), Unfinished(3, "b", 90.0, 95.0, 1, 1, None, 107.0))
    worker.step()
    assert (worker.returned("A"), worker.delay, worker.index, budget.stats().in_flight) == (WAIT, 7.0, 3, 0)


# Refused on its own account


def test_an_item_that_is_refused_by_itself_goes_back_and_its_worker_goes_on(clock):
    budget = limits(8)
    worker, run = hire(budget, (0, "a", 90.0), (1, "b", 95.0))
    worker.step()
    for _ in range(2):
        fail(worker, "rate", 1.0)
        clock.now += worker.delay
        assert worker.step() is CALL
        budget.answered(worker._permit, worker.started)
    clock.now += 5.0
    waited, started = worker.tally.to_repeat, worker.started
    _, word = fail(worker, "rate", 1.0)
    assert (word, worker.index, worker.item, worker._attempts) == (CALL, 1, "b", None)
    assert fields(run.back[0]) == (0, "a", 90.0, started, 3, 3, near(clock.now + 1.5))
    assert run.back[0].attempts.refusals._row == 3
    assert worker.tally.to_repeat - waited == near(1.5)
    assert (worker.tally.backing_off, budget.stats().in_flight, run.records) == (0, 1, [])


@pytest.mark.parametrize("more", [True, False])
def test_one_that_is_refused_again_where_nobody_is_answered_lets_those_go_that_nobody_has_tried(more, clock):
    worker, run = hire(limits(8), (0, "a", 90.0), (1, "b", 95.0))
    run.more = more
    worker.step()
    assert fail(worker, "rate", 1.0)[1] is WAIT  # it may be a moment's
    clock.now += worker.delay
    assert worker.step() is CALL
    started, waited = clock.now, worker.tally.to_repeat
    _, word = fail(worker, "rate", 1.0)
    assert (word, worker.index, len(run.aside)) == (WAIT, int(more), int(more))
    if more:
        assert fields(run.aside[0]) == (0, "a", 90.0, started, 2, 2, near(clock.now + 1.0, abs=0.4))
        assert (worker._attempts, worker._calls, worker._phase) == (None, 0, IN_LINE)  # behind the gate
        assert worker.tally.to_repeat == waited


def test_one_that_was_refused_before_others_were_answered_is_sent_again(clock):
    budget = limits(8)
    worker, run = hire(budget, (0, "a", 90.0), (1, "b", 95.0))
    run.more = True
    worker.step()
    for _ in range(2):
        assert fail(worker, "rate", 1.0)[1] is WAIT
        clock.now += worker.delay
        assert worker.step() is CALL
        budget.answered(worker._permit, worker.started)
    assert (worker.index, run.aside) == (0, [])


@pytest.mark.parametrize(("more", "refused"), [(True, True), (False, True), (True, False)])
def test_in_line_one_that_was_refused_lets_those_go_first_that_nobody_has_tried(more, refused, clock):
    budget = limits(1)
    worker, run = hire(budget, (0, "a", 90.0), (1, "b", 95.0))
    if refused:
        worker.step()
        fail(worker, "rate", 1.0)
        clock.now += worker.delay
    other = busy(budget)
    assert worker.step() is WAIT
    assert worker._phase == IN_LINE
    first = worker._permit
    run.more, run.others, run.waits = more, True, True
    word = worker.step()
    if not refused:
        assert (word, worker.index, worker._permit, run.aside) == (WAIT, 0, first, [])
    elif more:
        assert (word, worker.index, first.state, len(run.aside)) == (WAIT, 1, RELEASED, 1)
        assert run.aside[0].until == clock.now
    else:  # behind those who have them in hand
        assert (word, worker.index, first.state, run.aside) == (WAIT, 0, RELEASED, [])
        assert worker._permit is not first
    assert worker.untried() is (not refused or more)
    other.returned(None)
    run.others = False  # they have been tried
    assert (worker.step(), worker.delay) == ((WAIT, 1.0) if refused else (CALL, 0.0))  # after a gate starts are spread


# May it still start?


def test_one_in_line_that_may_not_start_is_dropped_and_discarded():
    budget, discarded = limits(), []
    other = busy(budget)
    worker, run = hire(budget, (5, "a", 90.0), discard=discarded.append)
    assert worker.step() is WAIT
    run.cut = 5
    assert (worker.step(), discarded, run.records, budget.stats().waiting) == (END, ["a"], [], 0)
    other.returned(None)
    assert budget.stats().in_flight == 0


def test_one_in_line_that_was_never_tried_is_dropped_also_where_failures_are_outcomes():
    budget = limits()
    busy(budget)
    worker, run = hire(budget, (5, "a", 90.0))
    worker.step()
    run.cut, run.keeps = 0, True
    assert (worker.step(), run.records) == (END, [])


def test_one_before_the_failing_one_still_starts():
    budget = limits()
    other = busy(budget)
    worker, run = hire(budget, (4, "a", 90.0))
    worker.step()
    run.cut = 5
    assert worker.step() is WAIT
    other.returned(None)
    assert worker.step() is CALL


@pytest.mark.parametrize("in_line", [False, True])
@pytest.mark.parametrize("keeps", [True, False])
def test_one_that_had_failed_ends_with_that_where_failures_are_outcomes(keeps, in_line, clock):
    budget, discarded = limits(), []
    worker, run = hire(budget, (5, "a", 90.0), retry=Retry(), discard=discarded.append)
    worker.step()
    error, _ = fail(worker)
    if in_line:
        busy(budget)
        clock.now += 1
        assert (worker.step(), worker._phase) == (WAIT, IN_LINE)
    run.cut, run.keeps = 0, keeps
    assert worker.step() is END
    assert [record[2] for record in run.records] == ([error] if keeps else [])
    assert (worker.tally.backing_off, budget.stats().waiting, discarded) == (0, 0, [])


def test_a_call_under_way_is_not_dropped():
    worker, run = hire(limits(), (5, "a", 90.0))
    worker.step()
    run.cut = 0
    assert (worker.step(), worker._phase) == (END, CALLING)


# withdraw


def test_a_worker_without_an_item_only_retires():
    worker, run = hire(limits(), (0, "a", 90.0))
    worker.withdraw()
    assert (worker.retiring, run.back, worker.step(), len(run.coming)) == (True, [], END, 1)


def test_an_item_in_line_goes_back():
    budget = limits()
    other = busy(budget)
    worker, run = hire(budget, (0, "a", 90.0))
    assert worker.step() is WAIT
    worker.withdraw()
    assert [fields(one) for one in run.back] == [(0, "a", 90.0, 0.0, 0, 0, 100.0)]
    assert (run.back[0].attempts, worker.step(), budget.stats().waiting) == (None, END, 0)
    other.returned(None)
    assert budget.stats().in_flight == 0


def test_an_item_whose_call_is_under_way_is_handed_in():
    worker, run = hire(limits(), (0, "a", 90.0), (1, "b", 90.0))
    worker.step()
    worker.withdraw()
    assert (run.back, worker.retiring, worker._phase) == ([], True, CALLING)
    run.coming.clear()
    assert (worker.returned("A"), run.records[0][:2]) == (END, (0, "A"))


def test_an_item_whose_call_was_to_be_made_goes_back_and_costs_nothing():
    budget = limits(1, rate=Rate(10, 10.0, burst=10))
    worker, run = hire(budget, (0, "a", 90.0))
    worker.step()
    worker.withdraw(called=False)
    assert [fields(one) for one in run.back] == [(0, "a", 90.0, 100.0, 0, 0, 100.0)]
    assert (worker.tally.started, budget.stats().in_flight) == (0, 0)
    assert budget.admission._buckets[0].earliest(100.0, 10.0) == 100.0


def test_an_item_in_back_off_goes_back_with_its_time():
    budget = limits()
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry())
    worker.step()
    fail(worker)
    attempts = worker._attempts
    worker.withdraw(called=False)
    assert [fields(one) for one in run.back] == [(0, "a", 90.0, 100.0, 1, 0, 100.25)]
    assert (run.back[0].attempts, worker.tally.backing_off, worker.tally.started) == (attempts, 0, 1)
    assert (worker._phase, worker.step()) == (NEW, END)


def test_an_item_whose_cost_could_not_be_told_goes_back():
    budget = limits(rate=Rate(1, 1.0, cost=lambda q: 1 / 0))
    worker, run = hire(budget, (0, "a", 90.0), arguments=as_argument)
    assert worker.step() is AGAIN
    worker.withdraw()
    assert ([one.index for one in run.back], worker.step(), run.records) == ([0], END, [])


@pytest.mark.parametrize("phase", [IN_LINE, CALLING, BACK_OFF])
def test_in_a_run_that_stops_nothing_goes_back(phase):
    budget = limits()
    if phase == IN_LINE:
        busy(budget)
    worker, run = hire(budget, (0, "a", 90.0), retry=Retry())
    worker.step()
    if phase == BACK_OFF:
        fail(worker)
    assert worker._phase == phase
    run.stops_now = True
    worker.withdraw(called=False)
    assert (worker.retiring, run.back, worker._phase) == (True, [], phase)
    worker.quit()
    assert (worker._phase, worker.tally.backing_off, budget.stats().waiting, worker._permit) == (ENDED, 0, 0, None)


# quit


def test_who_quits_discards_what_was_never_made_once():
    budget, discarded = limits(), []
    busy(budget)
    worker, run = hire(budget, (0, "a", 90.0), discard=discarded.append)
    worker.step()
    worker.quit()
    worker.quit()
    assert (discarded, budget.stats().waiting, run.records, run.back) == (["a"], 0, [], [])


@pytest.mark.parametrize("phase", [NEW, CALLING, BACK_OFF])
def test_who_quits_discards_nothing_else(phase):
    budget, discarded = limits(), []
    worker, _run = hire(budget, (0, "a", 90.0), discard=discarded.append, retry=Retry())
    if phase != NEW:
        worker.step()
    if phase == BACK_OFF:
        fail(worker)
    worker.quit()
    assert (discarded, budget.stats().in_flight, worker.tally.backing_off, worker._attempts) == ([], 0, 0, None)


# What the run looks at


def test_what_a_run_sees_of_its_worker_in_each_phase(clock):
    budget = limits()
    worker, _run = hire(budget, (0, "a", 90.0), retry=Retry())

    def seen():
        return worker.begun(), worker.calling(), worker.waiting(), worker.waiting_for(), worker.timings()

    assert seen() == (False, False, False, None, (0, 100.0, 0.0))
    other = busy(budget)
    worker.step()
    assert seen() == (False, False, True, "slot", (0, 90.0, 0.0))
    other.returned(None)
    worker.step()
    assert seen() == (True, True, False, None, (1, 90.0, 100.0))
    fail(worker)
    assert seen() == (True, False, True, "repeat", (1, 90.0, 100.0))
    other = busy(budget)
    clock.now += 1
    worker.step()
    assert seen() == (True, False, True, "slot", (1, 90.0, 100.0))
    other.returned(None)
    worker.step()
    clock.now += 1
    assert seen() == (True, True, False, None, (2, 90.0, 101.0))
    worker.returned("A")
    assert seen()[:4] == (False, False, False, None)
