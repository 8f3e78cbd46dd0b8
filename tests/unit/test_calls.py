"""One call's way, from its place in line to its outcome, with exact times: single calls and blocks.

The real books of a `Limits`, a clock that stands still until it is told, and chance that is always one half. What a
run's worker does otherwise is in `test_worker.py`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from typing import ClassVar

import pytest
import tenacity
from tests.unit.scenes import Fails, Half, at_hundred, fixed_clock, read_verdict

from fanmap import CallTimeout, Limits, NotRun, Rate, Retry, Verdict
from fanmap._drive.calls.direct import Block, Single, direct_arguments
from fanmap._drive.calls.plan import AGAIN, BACK_OFF, CALL, CALLING, END, ENDED, FAILED, IN_LINE, NEW, WAIT, Plan
from fanmap._drive.calls.scope import Scope, TransferableScope, current_scope
from fanmap._drive.limits.limits import budget_of
from fanmap._errors import left_behind
from fanmap._policy.limits.permit import RELEASED, RUNNING, THREADS, WAITING, Permit
from fanmap._policy.runs.refusals import Refusals

pytestmark = pytest.mark.usefixtures("clock")
clock = fixed_clock
near = pytest.approx


def limits(most=1, **settings):
    made = Limits(most, classify=read_verdict, **settings)
    budget_of(made).random = Half()
    return budget_of(made)


def call(budget, *args, retry=None, **plan):
    return Single(Plan("ask", lambda item: item, direct_arguments, budget, retry=retry, **plan), args, {}, THREADS)


def busy(budget):
    """A call under way in another context, which has the only slot."""
    here = current_scope.set(None)
    other = call(budget)
    assert other.step() is CALL
    current_scope.reset(here)
    return other


def fail(caller, kind="transient", wait=None):
    error = Fails(Verdict(kind, wait))
    return error, caller.raised(error)


# NEW, IN_LINE


class Loop:
    can_be_blocked = True
    over = False

    def gone(self):
        return self.over


def test_a_slot_of_a_lost_loop_comes_back_where_the_line_moves_before_anybody_looks(clock):
    def come(owner=THREADS):
        permit = Permit(None, None, owner)
        budget.join(permit, None)
        return permit

    budget = limits(2)
    loop = Loop()
    lost, under_way, waits = come(loop), come(), come()
    assert (lost.state, under_way.state, waits.state) == (RUNNING, RUNNING, WAITING)
    loop.over = True
    for _ in range(4):
        clock.now += 0.3  # its first would look after 0.5 s
        budget.release(under_way)
        under_way, waits = waits, come()
    assert lost.state == RELEASED
    assert budget.stats().in_flight == 2


def test_a_call_that_nobody_holds_up_is_made_at_once_and_ends_with_what_it_returned():
    budget = limits()
    one = call(budget, "q")
    assert one.item == (("q",), {})
    assert one.step() is CALL
    scope = current_scope.get()
    assert (type(scope), scope.budget, scope.name, scope.outer) == (Scope, budget, "ask", None)
    assert scope.permit.state == RUNNING and scope.permit.started
    assert (one._phase, one.started, budget.stats().in_flight) == (CALLING, at_hundred, 1)
    assert (one.waiting_for(), one.outer) == (None, None)
    permit = scope.permit
    assert one.returned("answer") is END
    assert (one.result(), one._phase, one.step()) == ("answer", ENDED, END)
    assert (permit.state, scope.permit, current_scope.get()) == (RELEASED, None, None)
    stats = budget.stats()
    assert (stats.in_flight, stats.started, stats.done, stats.failed, stats.attempts) == (0, 1, 1, 0, 1)
    assert (stats.waited_for_slot, stats.waited_for_rate, stats.waited_at_gate) == (0, 0, 0)


def test_a_call_waits_behind_another_is_woken_and_made(clock):
    budget = limits()
    first, second, third = busy(budget), call(budget), call(budget)
    woken = []
    assert second.step() is WAIT
    assert not second.attached
    second.attach(lambda: woken.append("second"))
    assert second.attached
    assert (second._phase, second.delay, second.waiting_for()) == (IN_LINE, 0.5, "slot")
    assert third.step() is WAIT
    third.attach(lambda: woken.append("third"))
    assert (third.delay, budget.stats().waiting) == (None, 2)  # it is woken: the first of its owner looks for it
    clock.now += 7
    assert second.step() is WAIT
    first.returned(1)
    assert woken == ["second"]
    assert second.step() is CALL
    assert (second.started, budget.stats().waited_for_slot) == (107, 7)
    assert third.step() is WAIT
    assert third.delay == 0.5


def test_who_was_woken_before_it_attached_looks_again_before_it_waits():
    budget = limits()
    first, second = busy(budget), call(budget)
    assert second.step() is WAIT
    first.returned(None)  # the slot is the second's, and nobody is there to be woken yet
    assert second.attach(lambda: None) is True
    assert second.step() is CALL


def test_who_was_not_woken_before_it_attached_may_wait():
    budget = limits()
    first, second = busy(budget), call(budget)
    assert second.attach(lambda: None) is False  # it has no place in line
    second.step()
    assert second.attach(lambda: None) is False
    first.returned(None)
    assert second.attach(lambda: None) is True


def test_who_attaches_before_its_first_step_is_woken_too():
    budget = limits()
    first, second, woken = busy(budget), call(budget), []
    second.attach(lambda: woken.append(1))
    assert second.step() is WAIT
    first.returned(None)
    assert woken == [1]


def test_a_rate_holds_a_call_until_its_time(clock):
    budget = limits(8, rate=Rate(1, 10.0))
    busy(budget).returned(None)
    second = call(budget)
    clock.now += 4
    assert (second.step(), second.delay, second.waiting_for()) == (WAIT, 6, "rate")
    clock.now += 5
    assert (second.step(), second.delay) == (WAIT, 1)
    clock.now += 1
    assert second.step() is CALL
    stats = budget.stats()
    assert (stats.waited_for_slot, stats.waited_for_rate, stats.waited_at_gate) == (0, 6, 0)


def test_a_wait_is_told_apart_for_a_slot_at_the_gate_and_for_a_rate(clock):
    budget = limits(1, rate=Rate(1, 10.0))
    first, second = busy(budget), call(budget)
    assert second.step() is WAIT
    clock.now += 1
    _, word = fail(first, "rate", 5.0)
    assert word is WAIT
    assert (second.step(), second.waiting_for(), second.delay) == (WAIT, "gate", 9)
    clock.now += 5
    assert (second.step(), second.waiting_for()) == (WAIT, "rate")
    clock.now += 4
    assert second.step() is CALL
    stats = budget.stats()
    assert (stats.waited_for_slot, stats.waited_at_gate, stats.waited_for_rate) == (1, 5, 4)


def test_a_gate_that_had_opened_before_is_not_waited_at(clock):
    budget = limits(1)
    budget.admission.close_gate(50.0, spread=0.0, apart=0.0)
    first, second = busy(budget), call(budget)
    assert second.step() is WAIT
    clock.now += 3
    first.returned(None)
    assert second.step() is CALL
    stats = budget.stats()
    assert (stats.waited_for_slot, stats.waited_at_gate, stats.waited_for_rate) == (3, 0, 0)


def test_a_cost_that_cannot_be_told_fails_its_call_through_the_drivers_loop():
    trouble = KeyError("q")

    def cost(q):
        raise trouble

    budget = limits(rate=Rate(10, 1.0, cost=cost))
    one = call(budget, "q")
    assert (one.step(), one._phase, one.waiting_for()) == (AGAIN, FAILED, None)
    assert one.step() is END
    with pytest.raises(KeyError) as caught:
        one.result()
    assert caught.value is trouble
    assert one.error is None
    stats = budget.stats()
    assert (stats.started, stats.done, stats.failed, stats.in_flight) == (0, 1, 1, 0)


def test_a_cost_beyond_the_rate_fails_its_call():
    budget = limits(rate=Rate(10, 1.0, cost=lambda q: q))
    one = call(budget, 11)
    assert (one.step(), one.step(), type(one.error)) == (AGAIN, END, ValueError)


@pytest.mark.parametrize(
    ("rates", "arguments", "charged"),
    [
        ([Rate(9, 1.0, cost=lambda q: q), Rate(9, 1.0)], direct_arguments, [3, 1]),
        ([Rate(9, 1.0), Rate(9, 1.0)], direct_arguments, [1, 1]),
        ([Rate(9, 1.0, cost=lambda q: q)], None, [1]),
    ],
)
def test_a_call_costs_what_its_arguments_say_and_1_where_nobody_knows(rates, arguments, charged):
    budget = limits(rate=rates)
    one = Single(Plan("ask", lambda item: item, arguments, budget), (3,), {}, THREADS)
    assert one.step() is CALL
    assert [charge.cost for charge in current_scope.get().permit.charges] == charged


# What the server asked to wait is more than anybody wants to wait


def test_a_new_call_before_a_gate_too_far_away_is_not_made_and_says_why(clock):
    budget = limits(max_wait=10.0)
    budget.admission.close_gate(200.0, spread=0.0, apart=0.0)
    one = call(budget)
    assert one.step() is AGAIN
    assert one.step() is END
    assert type(one.error) is NotRun
    assert str(one.error) == (
        "the server asked to wait 100.0 s more, longer than max_wait=10.0: "
        "to wait that long, write Limits(max_wait=100)"
    )
    assert (type(one.error.__cause__), str(one.error.__cause__)) == (TimeoutError, str(one.error))
    assert (budget.stats().waiting, budget.stats().started, budget.stats().failed) == (0, 0, 1)
    clock.now = 190.0
    assert call(budget).step() is WAIT  # 10 s: as long as anybody wants to wait, no longer


def test_a_call_in_line_leaves_when_the_gate_closes_for_too_long():
    budget = limits(max_wait=10.0)
    first, second = busy(budget), call(budget)
    assert second.step() is WAIT
    error, word = fail(first, "rate", 11.0)
    assert word is END
    assert error.__notes__ == [
        "fanmap: not sent again: the server asked to wait 11.0 s, and max_wait is 10.0: write Limits(max_wait=11)"
    ]
    assert second.step() is END
    assert type(second.error) is NotRun


def test_one_that_has_been_run_ends_with_its_failure_and_a_note(clock):
    budget = limits(max_wait=10.0)
    one = call(budget, retry=Retry())
    one.step()
    error, word = fail(one)
    assert word is WAIT
    budget.admission.close_gate(200.0, spread=0.0, apart=0.0)
    clock.now += one.delay
    assert (one.step(), one.step()) == (AGAIN, END)
    assert one.error is error
    assert error.__notes__ == [
        (
            "fanmap: not sent again: the server asked to wait 99.8 s more, longer than max_wait=10.0: "
            "to wait that long, write Limits(max_wait=100)"
        )
    ]


# returned


def test_a_coroutine_out_of_a_def_is_a_mistake_and_is_closed():
    async def answer():
        return 1

    budget, made = limits(), answer()
    one = call(budget, plain=True)
    one.step()
    assert one.returned(made) is END
    assert type(one.error) is TypeError
    assert str(one.error) == "ask returned a coroutine: decorate the `async def` itself, or await it inside"
    assert made.cr_frame is None
    other = call(budget)
    other.step()
    coroutine = answer()
    assert (other.returned(coroutine), other.value) == (END, coroutine)  # whose awaitable it is
    coroutine.close()


def test_what_a_def_returns_is_its_value():
    one = call(limits(), plain=True)
    one.step()
    assert (one.returned("v"), one.value) == (END, "v")


def test_an_answer_that_comes_after_its_call_was_left_changes_nothing():
    budget = limits(8)
    one = call(budget)
    one.step()
    fail(busy(budget), "concurrency")
    one.quit()
    assert (one.returned("late"), budget.fates()[0]) == (END, 0)


def test_a_result_that_is_not_wanted_is_asked_for_again_until_attempts_run_out(clock):
    wanted = Retry(attempts=2, on=tenacity.retry_if_result(lambda value: value == "no"))
    one = call(limits(), retry=wanted)
    one.step()
    assert (one.returned("no"), one.delay, one._phase) == (WAIT, 0.25, BACK_OFF)
    clock.now += 0.25
    assert (one.step(), one.returned("no")) == (CALL, END)
    assert type(one.error) is tenacity.RetryError
    assert one.error.last_attempt.result() == "no"
    good = call(limits(), retry=wanted)
    good.step()
    assert (good.returned("yes"), good.value) == (END, "yes")


def test_a_result_counts_as_it_is_where_nothing_else_was_asked_for():
    for options in ({"retry": Retry()}, {"retry": None}, {"retry": False}):
        one = call(limits(), **options)
        one.step()
        assert (one.returned("no"), one.value) == (END, "no")
    once = call(limits(), retry=Retry(on=tenacity.retry_if_result(lambda value: True)), repeatable=lambda item: False)
    once.step()
    assert (once.returned("no"), once.value) == (END, "no")


@pytest.mark.parametrize(
    ("said", "left"),
    [(2.0, 8), (2, 8), (0, 10), (12.0, -2), (None, 5), (-1, 5), (float("inf"), 5), ("2", 5)],
)
def test_a_charge_is_settled_with_what_the_reply_says_that_it_took(said, left, clock):
    budget = limits(2, rate=Rate(10, 1.0, burst=10, cost=lambda q: 5, usage=lambda reply: reply[0]))
    one = call(budget, "q")
    one.step()
    assert one.returned([said]) is END
    bucket = budget.admission._buckets[0]
    assert max(0.0, bucket._tat - at_hundred) == near((10 - left) / 10)


def test_an_accounting_that_fails_costs_no_answer():
    budget = limits(2, rate=[Rate(10, 1.0, cost=lambda q: 5, usage=lambda reply: 1 / 0), Rate(10, 1.0)])
    one = call(budget, "q")
    one.step()
    assert (one.returned("answer"), one.value) == (END, "answer")


def test_a_failure_is_charged_as_estimated():
    asked = []
    budget = limits(2, rate=Rate(10, 1.0, burst=10, cost=lambda q: 5, usage=asked.append))
    one = call(budget, "q")
    one.step()
    assert fail(one, "permanent")[1] is END
    assert (asked, budget.admission._buckets[0]._tat) == ([], near(100.5))


def test_an_unwanted_result_is_paid_for_too():
    budget = limits(2, rate=Rate(10, 1.0, burst=10, cost=lambda q: 5, usage=lambda reply: 2))
    one = call(budget, "q", retry=Retry(attempts=2, on=tenacity.retry_if_result(lambda value: True)))
    one.step()
    assert one.returned("no") is WAIT
    assert budget.admission._buckets[0]._tat == near(100.2)


def test_the_last_unwanted_result_is_paid_for_too():
    budget = limits(2, rate=Rate(10, 1.0, burst=10, cost=lambda q: 5, usage=lambda reply: 2))
    one = call(budget, "q", retry=Retry(attempts=1, on=tenacity.retry_if_result(lambda value: True)))
    one.step()
    assert one.returned("no") is END
    assert budget.admission._buckets[0]._tat == near(100.2)


def test_an_answer_is_reported_where_somebody_wants_to_know():
    budget = limits(8)
    one, other = busy(budget), busy(budget)
    fail(one, "concurrency")
    assert not budget.admission.steady
    other.returned(None)
    assert budget.fates()[0] == 1


# raised


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
def test_what_is_no_failure_ends_the_call_at_once(error):
    budget = limits()
    one = call(budget, retry=Retry())
    one.step()
    assert (one.raised(error), one.error) == (END, error)
    assert (budget.stats().failed, budget.stats().in_flight) == (1, 0)


def test_what_is_no_failure_is_read_by_nobody():
    budget = budget_of(Limits(classify=lambda error: Verdict("rate", 2.0)))
    one = call(budget)
    one.step()
    assert one.raised(asyncio.CancelledError()) is END
    assert budget.stats().refused == 0


def test_a_stop_iteration_comes_out_as_a_runtime_error():
    one = call(limits())
    one.step()
    stop = StopIteration(1)
    assert one.raised(stop) is END
    assert (type(one.error), str(one.error), one.error.__cause__) == (RuntimeError, "ask raised StopIteration", stop)


def test_a_thread_that_was_left_behind_is_counted_once_and_no_other_timeout():
    for error, counted in ((left_behind(1.0), 1), (CallTimeout(), 0), (TimeoutError(), 0)):
        budget = limits()
        for _ in range(2):  # passed on by a call around it
            one = call(budget, plain=True)
            one.step()
            one.raised(error)
        assert budget.stats().abandoned == counted


def test_a_refusal_that_names_no_wait_sends_the_call_back_in_line_a_little_later(clock):
    budget = limits()
    one = call(budget)
    one.step()
    _, word = fail(one, "rate")
    assert (word, one.delay, one._phase, one.waiting_for()) == (WAIT, near(0.3), BACK_OFF, "repeat")
    stats = budget.stats()
    assert (stats.refused, stats.attempts, stats.in_flight, stats.waiting) == (1, 0, 0, 1)
    assert stats.waited_to_repeat == near(0.3)
    assert current_scope.get() is not None  # its context is its own until it has ended
    clock.now += 0.1
    assert (one.step(), one.delay) == (WAIT, near(0.2))
    clock.now += 0.2
    assert one.step() is CALL
    assert (one.returned("v"), one.attempts, budget.stats().waiting, budget.stats().refused) == (END, 1, 0, 1)


def test_a_refusal_that_names_a_wait_holds_everybody_as_long(clock):
    budget = limits(8)
    one, other = busy(budget), call(budget)
    _, word = fail(one, "rate", 2.0)
    assert (word, one.delay, one.waiting_for()) == (WAIT, near(2.225), "gate")
    assert (other.step(), other.delay, other.waiting_for()) == (WAIT, 2.0, "gate")
    clock.now += 2.0
    assert (one.waiting_for(), other.step()) == ("repeat", CALL)


def test_a_refused_call_is_not_sent_again_where_nothing_is():
    budget = limits()
    one = call(budget, retry=False)
    one.step()
    error, word = fail(one, "rate", 2.0)
    assert (word, one.error, getattr(error, "__notes__", [])) == (END, error, [])
    assert budget.admission.opens_at() == 102.0


@pytest.mark.parametrize("kind", ["rate", "concurrency"])
def test_what_cannot_be_sent_again_says_so_and_holds_everybody_all_the_same(kind):
    budget = limits()
    one = call(budget, repeatable=lambda item: False)
    one.step()
    error, word = fail(one, kind, 2.0)
    assert (word, one.error, budget.admission.opens_at()) == (END, error, 102.0)
    assert error.__notes__ == [
        (
            "fanmap: the server refused this call, and an awaitable cannot be sent again: decorate the `async def` "
            "with `parallel_map`, or give gather_bounded functions, for instance functools.partial(ask, prompt)"
        )
    ]


def test_what_can_be_sent_again_is_asked_of_its_item():
    asked = []
    one = call(limits(), "q", repeatable=lambda item: asked.append(item) or True)
    one.step()
    assert fail(one, "rate")[1] is WAIT
    assert asked == [(("q",), {})]


def test_refusals_without_a_success_for_longer_than_max_wait_end_the_call(clock):
    budget = limits(max_wait=10.0)
    one = call(budget)
    word = one.step()
    while word is not END:
        error, word = fail(one, "rate")
        while word is WAIT:
            clock.now += one.delay
            word = one.step()
    assert clock.now > 110.0
    assert error.__notes__ == [
        (
            "fanmap: not sent again: every call was refused for max_wait=10.0 s: "
            "to keep trying for longer, write Limits(max_wait=20)"
        )
    ]
    assert one.error is error


def test_an_item_that_is_refused_while_others_are_answered_waits_by_itself_and_not_for_ever(clock):
    budget = limits(8, max_wait=10.0)
    one = call(budget)
    one.step()
    opens = []
    for _ in range(2):
        _, word = fail(one, "rate", 1.0)
        clock.now += one.delay
        assert one.step() is CALL
        opens.append(budget.admission.opens_at())
        budget.answered(one._permit, one.started)
    assert opens == [101.0, near(102.175)]
    started = clock.now
    error, word = fail(one, "rate", 1.0)
    assert (word, one.delay) == (WAIT, near(1.5))  # 0.75 of 2 s, or the wait that it was told, 1.175 s
    assert budget.admission.opens_at() == opens[1]  # nobody else is held up
    clock.now += one.delay
    assert one.step() is CALL
    error, word = fail(one, "rate", 9.0)  # 9.575 s more: longer than max_wait after its first
    assert (word, one.error) == (END, error)
    assert error.__notes__ == ["fanmap: not sent again: refused for max_wait=10.0 s while others were answered"]
    assert budget.admission.opens_at() == opens[1] < started
    assert (budget.stats().refused, budget.stats().attempts) == (4, 0)


def test_a_permanent_failure_is_not_sent_again_and_its_wait_is_everybodys():
    budget = limits(8, max_wait=10.0)
    one = call(budget, retry=Retry())
    one.step()
    error, word = fail(one, "permanent", 2.0)
    assert (word, one.error, getattr(error, "__notes__", [])) == (END, error, [])
    assert (budget.admission.opens_at(), budget.stats().refused) == (102.0, 0)


def test_a_permanent_failure_whose_wait_is_too_long_says_so():
    budget = limits(8, max_wait=10.0)
    one = call(budget)
    one.step()
    error, word = fail(one, "permanent", 12.0)
    assert (word, one.error) == (END, error)
    assert error.__notes__ == [
        "fanmap: not sent again: the server asked to wait 12.0 s, and max_wait is 10.0: write Limits(max_wait=12)"
    ]


def test_x_should_retry_false_is_read_as_permanent_with_its_wait():
    class Refused(Exception):
        status_code = 429
        headers: ClassVar = {"x-should-retry": "false", "retry-after": "3"}

    budget = limits(8)
    one = call(budget)
    one.step()
    assert one.raised(Refused()) is END
    assert budget.admission.opens_at() == 103.0


@pytest.mark.parametrize("kind", ["spent", "forbidden", "permanent", "transient", "overloaded"])
def test_without_retry_a_failure_that_was_no_refusal_stands(kind):
    for retry in (None, False):
        budget = limits()
        one = call(budget, retry=retry)
        one.step()
        error, word = fail(one, kind)
        assert (word, one.error, budget.stats().failed) == (END, error, 1)
        assert budget.failures_in_a_row() == 0


@pytest.mark.parametrize("kind", ["transient", "overloaded"])
def test_with_retry_a_transient_failure_is_sent_again_until_attempts_run_out(kind, clock):
    budget = limits()
    one = call(budget, retry=Retry(attempts=3))
    one.step()
    delays = []
    for _ in range(2):
        _, word = fail(one, kind)
        assert word is WAIT
        delays.append(one.delay)
        clock.now += one.delay
        assert one.step() is CALL
    error, word = fail(one, kind)
    assert (delays, word, one.error) == ([0.25, 0.5], END, error)
    assert budget.stats().attempts == 3
    assert budget.failures_in_a_row() == 3


def test_a_wait_that_a_failure_names_is_its_own():
    budget = limits(8)
    one = call(budget, retry=Retry())
    one.step()
    assert (fail(one, "transient", 3.0)[1], one.delay) == (WAIT, 3.0)
    assert (budget.admission.opens_at(), budget.stats().refused) == (float("-inf"), 0)


def test_what_cannot_be_repeated_is_not():
    one = call(limits(), retry=Retry(), repeatable=lambda item: False)
    one.step()
    assert fail(one)[1] is END


def test_a_permanent_failure_is_sent_again_where_that_was_asked_for_and_counts_for_no_outage():
    budget = limits()
    one = call(budget, retry=Retry(on=Fails))
    one.step()
    assert fail(one, "permanent")[1] is WAIT
    assert budget.failures_in_a_row() == 0


def test_an_outage_that_lasts_for_longer_than_max_wait_ends_the_call(clock):
    budget = limits(max_wait=10.0)
    one = call(budget, retry=Retry(attempts=100))
    word = one.step()
    while word is not END:
        error, word = fail(one)
        while word is WAIT:
            clock.now += one.delay
            word = one.step()
    assert clock.now > 110.0
    assert error.__notes__ == [
        "fanmap: not sent again: every call failed for max_wait=10.0 s: to keep trying for longer, write Limits(max_wait=20)"
    ]


def test_a_client_that_repeats_by_itself_is_counted_and_told_of_once(clock):
    class Botocore(Fails):
        response: ClassVar = {"ResponseMetadata": {"RetryAttempts": 2}}

    Botocore.__module__ = "botocore.exceptions"
    budget = limits()
    one = call(budget, retry=Retry(attempts=4))
    one.step()
    with pytest.warns(UserWarning, match="the client that ask uses retries failed requests itself"):
        assert one.raised(Botocore(Verdict("transient"))) is WAIT
    assert (budget.stats().started, budget.stats().attempts, one.attempts) == (3, 3, 3)
    clock.now += one.delay
    one.step()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert one.raised(Botocore(Verdict("transient"))) is END  # 6 attempts
        again = call(budget)
        again.step()
        assert again.raised(Botocore(Verdict("rate"))) is WAIT
    assert said == []
    assert (budget.stats().refused, again.attempts) == (3, 0)


def test_a_client_that_says_nothing_of_repeats_is_not_told_of(monkeypatch):
    logged = []
    for level in ("error", "warning"):
        monkeypatch.setattr(logging.getLogger("fanmap"), level, lambda *said: logged.append(said))
    one = call(budget_of(Limits()))
    one.step()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert one.raised(ValueError()) is END
    assert (said, logged) == ([], [])


def test_a_client_of_another_event_loop_has_a_note():
    error = RuntimeError("Event loop is closed")
    one = call(limits())
    one.step()
    assert one.raised(error) is END
    assert error.__notes__ == [
        (
            "fanmap: an async client belongs to the event loop on which it was first used. Each `asyncio.run` has a "
            "loop of its own, and so has `.map` of an async function: use `.map` everywhere, or await everything "
            "within one `asyncio.run`, or make a client for each loop"
        )
    ]


def test_the_users_own_reading_counts_first_and_ours_where_there_is_none(clock):
    class Busy(Exception):
        status_code = 429
        headers: ClassVar = {"retry-after": "2"}

    budget = budget_of(Limits(8))
    one = call(budget)
    one.step()
    assert one.raised(Busy()) is WAIT
    assert budget.admission.opens_at() == 102.0
    own = budget_of(Limits(8, classify=lambda error: Verdict("permanent")))
    one = call(own)
    one.step()
    assert one.raised(Busy()) is END
    none = budget_of(Limits(8, classify=lambda error: None))
    one = call(none)
    one.step()
    assert one.raised(Busy()) is WAIT


# BACK_OFF, and `total`


def test_total_is_over_in_line(clock):
    budget = limits()
    one = call(budget, retry=Retry(total=5.0))
    one.step()
    error, word = fail(one)
    assert (word, one.delay) == (WAIT, 0.25)
    busy(budget)
    clock.now += 0.25
    assert (one.step(), one.delay, one.waiting_for()) == (WAIT, 0.5, "slot")
    clock.now = 104.9
    assert (one.step(), one.delay) == (WAIT, near(0.1))
    clock.now = 105.0
    assert (one.step(), one.delay) == (WAIT, 0.0)
    clock.now = 105.01
    assert (one.step(), one.error) == (END, error)
    assert budget.stats().waiting == 0


def test_total_bounds_a_wait_that_is_otherwise_without_bound(clock):
    budget = limits()
    one = call(budget, retry=Retry(total=5.0))
    one.step()
    fail(one)
    busy(budget)
    assert call(budget).step() is WAIT  # has the timer
    clock.now += 0.25
    assert (one.step(), one.delay) == (WAIT, near(4.75))


def test_a_refused_call_without_a_total_waits_in_line_without_bound(clock):
    budget = limits()
    one = call(budget)
    one.step()
    fail(one, "rate")
    busy(budget)
    assert call(budget).step() is WAIT  # has the timer
    clock.now += one.delay
    assert (one.step(), one.delay) == (WAIT, None)


def test_total_is_over_though_its_turn_has_come(clock):
    budget = limits()
    one = call(budget, retry=Retry(total=5.0))
    one.step()
    error, _ = fail(one)
    other = busy(budget)
    clock.now += 0.25
    assert one.step() is WAIT
    clock.now = 106.0
    other.returned(None)
    assert (one.step(), one.error) == (END, error)
    assert (budget.stats().in_flight, budget.stats().waiting) == (0, 0)


def test_total_is_over_in_back_off(clock):
    for late, word in ((105.0, CALL), (105.01, END)):
        clock.now = 100.0
        budget = limits()
        one = call(budget, retry=Retry(total=5.0))
        one.step()
        error, _ = fail(one)
        clock.now = late
        assert one.step() is word
        assert budget.stats().waiting == 0
        assert one.error is (error if word is END else None)


def test_total_bounds_refusals_where_there_is_a_retry():
    for retry, word in ((Retry(total=2.0), END), (None, WAIT)):
        budget = limits()
        one = call(budget, retry=retry)
        one.step()
        assert fail(one, "rate", 3.0)[1] is word


def test_a_delay_counts_from_when_it_was_decided(clock):
    budget = limits()
    one = call(budget, retry=Retry(wait=4.0))
    one.step()
    clock.now += 10
    assert fail(one)[1] is WAIT
    assert (one.delay, budget.stats().waited_to_repeat) == (4.0, 4.0)


# quit


@pytest.mark.parametrize("phase", [NEW, IN_LINE, CALLING, BACK_OFF, ENDED])
def test_who_quits_leaves_nothing_behind_whatever_the_phase_and_however_often(phase):
    budget = limits()
    one = call(budget, retry=Retry())
    other = busy(budget) if phase == IN_LINE else None
    if phase != NEW:
        one.step()
    if phase == BACK_OFF:
        fail(one)
    if phase == ENDED:
        one.returned(None)
    assert one._phase == phase
    for _ in range(2):
        one.quit()
    assert (one._phase, one.step(), one._permit, one._attempts) == (ENDED, END, None, None)
    if other is not None:
        other.returned(None)
    assert (budget.stats().in_flight, budget.stats().waiting) == (0, 0)
    assert current_scope.get() is None


def test_a_release_that_ctrl_c_cuts_off_is_made_again(monkeypatch):
    budget = limits()
    one = call(budget)
    one.step()
    release, cut = type(budget).release, [KeyboardInterrupt()]

    def interrupted(self, permit, actual=None):
        if cut:
            raise cut.pop()
        release(self, permit, actual)

    monkeypatch.setattr(type(budget), "release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.quit()
    assert (budget.stats().in_flight, one._permit) == (0, None)


# Inside another call


def inside(outer_budget, **plan):
    outer = call(outer_budget, **plan)
    assert outer.step() is CALL
    return outer


def test_a_call_inside_another_runs_on_its_slot_and_gives_it_back():
    budget = limits()
    outer = inside(budget)
    scope = current_scope.get()
    inner = call(budget)
    assert inner.outer is scope
    assert (inner.step(), inner._permit.lender) == (CALL, scope.permit)
    assert current_scope.get().outer is scope
    assert (inner.returned(1), current_scope.get()) == (END, scope)
    assert budget.stats().in_flight == 1
    assert (outer.returned(2), budget.stats().in_flight) == (END, 0)


def test_a_call_inside_another_that_waits_for_a_rate_on_its_slot_says_so(clock):
    budget = limits(1, rate=Rate(1, 10.0))
    inside(budget)
    inner = call(budget)
    assert (inner.step(), inner.delay, inner.waiting_for()) == (WAIT, 10.0, "rate")
    clock.now += 10
    assert inner.step() is CALL


def test_a_transferable_slot_and_charge_are_the_first_calls_inside_and_no_others(clock):
    budget = limits(1, rate=Rate(1, 10.0))
    outer = inside(budget, scope=TransferableScope)
    scope, permit = current_scope.get(), outer._permit
    inner = call(budget)
    woken = []
    inner.attach(lambda: woken.append(1))
    assert (inner.step(), inner._permit, scope.permit) == (CALL, permit, None)
    assert inner.returned(1) is END
    assert permit.state == RELEASED
    second = call(budget)
    assert (second.step(), second.delay) == (WAIT, 10.0)  # its own slot, its own charge
    assert outer.returned(2) is END
    assert budget.stats().waiting == 1
    clock.now += 10
    assert second.step() is CALL


def test_a_call_that_claims_a_slot_later_has_waited_for_nothing(clock):
    budget = limits()
    inside(budget, scope=TransferableScope)
    budget.admission.close_gate(150.0, spread=0.0, apart=0.0)
    clock.now += 5
    assert call(budget).step() is CALL
    stats = budget.stats()
    assert (stats.waited_for_slot, stats.waited_at_gate, stats.waited_for_rate) == (0, 0, 0)


def test_a_transferable_slot_is_retained_by_a_call_with_none_inside():
    budget = limits()
    outer = inside(budget, scope=TransferableScope)
    scope = current_scope.get()
    assert outer.returned(1) is END
    assert (scope.retain(), scope.claim(), scope.permit, budget.stats().in_flight) == (True, None, None, 0)


def test_a_call_that_claims_a_slot_at_another_cost_waits_for_the_difference_on_it(clock):
    budget = limits(1, rate=Rate(10, 10.0, burst=1, cost=lambda q: q))
    outer = call(budget, 1, scope=TransferableScope)
    outer.step()
    inner = call(budget, 2)
    assert inner.step() is CALL  # what the outer one was charged is taken back, and a full bucket is enough
    assert [charge.cost for charge in inner._permit.charges] == [2]
    inner.returned(None)
    outer.returned(None)
    clock.now += 2.0
    outer = call(budget, 1, scope=TransferableScope)
    outer.step()
    next_one = call(budget, 1)
    assert (next_one.step(), [charge.at for charge in next_one._permit.charges]) == (CALL, [102.0])


def test_two_limits_asked_for_in_both_orders_are_warned_of_once():
    one, other = limits(), limits()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for first, second in ((one, other), (other, one), (one, other)):
            in_the_way = busy(second)
            outer = inside(first)
            inner = call(second)
            assert inner.step() is WAIT
            for each in (inner, outer, in_the_way):
                each.quit()
    assert len([one for one in said if "each waits for the other forever" in str(one.message)]) == 1


def test_a_call_that_does_not_wait_tells_of_no_order():
    one, other = limits(), limits()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for first, second in ((one, other), (other, one)):
            outer = inside(first)
            inner = call(second)
            assert inner.step() is CALL
            inner.returned(None)
            outer.returned(None)


# Blocks


def block(budget, frame=None):
    return Block(Plan("a block", lambda item: item, None, budget, retry=False), THREADS, frame)


def test_a_block_is_a_call_that_costs_one_of_each_rate(clock):
    budget = limits(1, rate=Rate(10, 10.0, cost=lambda: 7))
    one = block(budget, frame="here")
    assert (one.step(), one.frame) == (CALL, "here")
    assert [charge.cost for charge in one._permit.charges] == [1.0]
    assert current_scope.get() is one._inside
    one.leave(None)
    assert (one.frame, one._inside, current_scope.get()) == (None, None, None)
    assert (budget.stats().in_flight, budget.stats().done, budget.stats().failed) == (0, 1, 0)


def test_a_refusal_out_of_a_block_holds_everybody_and_is_not_raised_again():
    budget = limits(8)
    one = block(budget)
    one.step()
    one.leave(Fails(Verdict("rate", 2.0)))
    assert (budget.admission.opens_at(), budget.stats().in_flight, budget.stats().failed) == (102.0, 0, 1)
    budget = limits(8)
    one = block(budget)
    one.step()
    one.leave(KeyboardInterrupt())
    assert budget.stats().in_flight == 0


def test_a_block_whose_wait_would_be_too_long_is_not_entered():
    budget = limits(max_wait=10.0)
    budget.admission.close_gate(200.0, spread=0.0, apart=0.0)
    one = block(budget)
    assert one.step() is AGAIN
    with pytest.raises(NotRun):
        one.step()


def test_a_block_left_in_another_context_leaves_that_one_alone():
    budget = limits(2)
    one = block(budget)
    one.step()
    other = block(budget)
    other.step()
    inner = current_scope.get()
    one.leave(None)
    assert current_scope.get() is inner
    other.leave(None)
    assert budget.stats().in_flight == 0


def test_a_block_left_in_another_thread_is_counted_there():
    budget = limits()
    one = block(budget)
    one.step()
    thread = threading.Thread(target=one.leave, args=(None,))
    thread.start()
    thread.join()
    assert (budget.stats().in_flight, budget.stats().done) == (0, 1)
    assert budget.tally_of(threading.get_ident()).done == 0


def test_refusals_are_kept_with_their_item():
    one = call(limits())
    one.step()
    fail(one, "rate")
    assert isinstance(one._attempts.refusals, Refusals)
