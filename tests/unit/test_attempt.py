"""One item's tries: when it is asked for again, after how long, and when it is given up, to the last digit."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal

import pytest
import tenacity

from fanmap import Retry, Verdict
from fanmap._policy.runs.attempt import Attempts

ERROR = RuntimeError("it failed")
TRANSIENT = Verdict("transient")
PERMANENT = Verdict("permanent")


def attempts(retry=None, *, at=100.0):
    return Attempts(Retry() if retry is None else retry, at)


# Settings


def test_unless_told_otherwise_four_calls_within_ten_minutes():
    retry = Retry()
    assert (retry.attempts, retry.on, retry.wait, retry.stop, retry.total) == (4, None, None, None, 600.0)


def test_settings_that_may_be_shared_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retry().attempts = 5
    assert not hasattr(Retry(), "__dict__")


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"attempts": 0}, ValueError, "attempts must be >= 1, got 0"),
        ({"attempts": 2.0}, TypeError, "attempts must be an int >= 1, got 2.0"),
        ({"attempts": True}, TypeError, "attempts must be an int >= 1, got True"),
        ({"total": 0}, ValueError, "total must be a finite number > 0, got 0"),
        ({"on": int}, TypeError, f"on must be an exception class, a tuple of them or a tenacity strategy, got {int!r}"),
        (
            {"on": (KeyError, 5)},
            TypeError,
            "on must be an exception class, a tuple of them or a tenacity strategy, got (<class 'KeyError'>, 5)",
        ),
        (
            {"on": "KeyError"},
            TypeError,
            "on must be an exception class, a tuple of them or a tenacity strategy, got 'KeyError'",
        ),
        ({"wait": -1}, ValueError, "wait must be >= 0 seconds or a tenacity wait strategy, got -1"),
        ({"wait": math.inf}, ValueError, "wait must be >= 0 seconds or a tenacity wait strategy, got inf"),
        ({"wait": math.nan}, ValueError, "wait must be >= 0 seconds or a tenacity wait strategy, got nan"),
        ({"wait": True}, TypeError, "wait must be >= 0 seconds or a tenacity wait strategy, got True"),
        ({"stop": 3}, TypeError, "stop must be a tenacity stop strategy or None, got 3: write attempts=3"),
        (
            {"stop": tenacity.stop_after_attempt},
            TypeError,
            (
                "stop must be a tenacity stop strategy or None, got <class 'tenacity.stop.stop_after_attempt'>:"
                " write stop=tenacity.stop_after_attempt(...)"
            ),
        ),
        (
            {"wait": tenacity.wait_fixed},
            TypeError,
            (
                "wait must be >= 0 seconds or a tenacity wait strategy, got <class 'tenacity.wait.wait_fixed'>:"
                " write wait=tenacity.wait_fixed(...)"
            ),
        ),
    ],
)
def test_settings_out_of_bounds_are_errors_when_they_are_made(settings, kind, message):
    with pytest.raises(kind) as caught:
        Retry(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["on", "wait", "stop"])
@pytest.mark.parametrize(
    ("own", "strategy"),
    [("on", tenacity.retry_always), ("wait", tenacity.wait_fixed(1)), ("stop", tenacity.stop_after_attempt(3))],
)
def test_a_strategy_in_the_place_of_another_is_an_error_that_names_its_own(name, own, strategy):
    if name == own:
        assert getattr(Retry(**{name: strategy}), name) is strategy
        return
    with pytest.raises(TypeError, match=rf"{name} must be .*: write {own}=\.\.\."):
        Retry(**{name: strategy})


# What is repeated


@pytest.mark.parametrize("kind", ["transient", "overloaded", "rate", "concurrency", "ramp"])
def test_a_failure_that_a_repeat_can_mend_is_repeated_if_that_was_asked_for(kind):
    assert attempts().failed(ERROR, Verdict(kind), 100.0, 0.5) == 0.25
    assert Attempts(None, 100.0).failed(ERROR, Verdict(kind), 100.0, 0.5) is None


def test_what_is_wrong_is_not_repeated_unless_on_says_so():
    assert attempts().failed(ERROR, PERMANENT, 100.0, 0.5) is None
    assert attempts(Retry(on=RuntimeError)).failed(ERROR, PERMANENT, 100.0, 0.5) == 0.25
    assert attempts(Retry(on=(KeyError, ValueError))).failed(ERROR, PERMANENT, 100.0, 0.5) is None
    assert attempts(Retry(on=(KeyError, RuntimeError))).failed(ERROR, PERMANENT, 100.0, 0.5) == 0.25


def test_on_says_what_is_repeated_instead_of_the_default():
    assert attempts(Retry(on=KeyError)).failed(ERROR, TRANSIENT, 100.0, 0.5) is None


@pytest.mark.parametrize("kind", ["spent", "forbidden"])
def test_fatal_kinds_stay_fatal_whatever_on_says(kind):
    assert attempts(Retry(on=RuntimeError)).failed(ERROR, Verdict(kind), 100.0, 0.5) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_only_exceptions_are_repeated_never_base_exceptions(error):
    assert attempts(Retry(on=BaseException)).failed(error, TRANSIENT, 100.0, 0.5) is None


# After how long


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5, 0.999])
def test_full_jitter_doubles_up_to_a_minute(chance):
    tries = attempts(Retry(attempts=1000, total=1e9))
    delays = [tries.failed(ERROR, TRANSIENT, 100.0, chance) for _ in range(20)]
    assert delays == [chance * min(60, 0.25 * 2**n) for n in range(1, 21)]


def test_a_wait_that_the_server_named_is_never_shortened():
    assert attempts().failed(ERROR, Verdict("transient", 7.0), 100.0, 0.5) == 7.0
    assert attempts(Retry(wait=9)).failed(ERROR, Verdict("transient", 7.0), 100.0, 0.5) == 9.0


def test_waits_of_ones_own_and_of_tenacity():
    assert attempts(Retry(wait=0)).failed(ERROR, TRANSIENT, 100.0, 0.9) == 0.0
    tries = attempts(Retry(attempts=9, wait=tenacity.wait_fixed(1) + tenacity.wait_incrementing(2, 3)))
    assert [tries.failed(ERROR, TRANSIENT, 100.0, 0.9) for _ in range(3)] == [3.0, 6.0, 9.0]


def test_a_wait_below_a_second_stands_and_whatever_number_a_strategy_returns_is_seconds():
    assert attempts(Retry(wait=0.5)).failed(ERROR, TRANSIENT, 100.0, 0.9) == 0.5
    delay = attempts(Retry(wait=lambda state: Decimal("1.5"))).failed(ERROR, TRANSIENT, 100.0, 0.9)
    assert (delay, type(delay)) == (1.5, float)


def test_thousands_of_attempts_do_not_overflow():
    tries = attempts(Retry(attempts=3000, total=1e9))
    assert [tries.failed(ERROR, TRANSIENT, 100.0, 0.5) for _ in range(2999)][-1] == 30.0


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf, -1.0])
def test_garbage_from_a_wait_strategy_never_reaches_a_sleep(said):
    assert attempts(Retry(wait=lambda state: said)).failed(ERROR, TRANSIENT, 100.0, 0.5) == 0.0


@pytest.mark.parametrize("said", [None, "soon", [1.0]])
def test_what_a_wait_strategy_says_instead_of_seconds_is_named(said):
    with pytest.raises(TypeError) as caught:
        attempts(Retry(wait=lambda state: said)).failed(ERROR, TRANSIENT, 100.0, 0.5)
    assert str(caught.value) == f"wait must answer with a number of seconds, got {said!r}"


# How often


@pytest.mark.parametrize("most", [1, 2, 4])
def test_so_many_calls_an_item_the_first_included(most):
    tries = attempts(Retry(most))
    delays = [tries.failed(ERROR, TRANSIENT, 100.0, 0.0) for _ in range(most)]
    assert delays == [0.0] * (most - 1) + [None]
    assert tries.count == most


def test_repeats_that_the_client_made_by_itself_count():
    tries = attempts(Retry(6))
    assert tries.failed(ERROR, TRANSIENT, 100.0, 0.0, hidden=2) == 0.0
    assert tries.failed(ERROR, TRANSIENT, 100.0, 0.0, hidden=2) is None
    assert tries.count == 6


def test_refusals_do_not_count():
    tries = attempts(Retry(2))
    for number in range(50):
        assert tries.refused(ERROR, 100.0 + number, 101.0 + number)
    assert tries.count == 0
    assert tries.failed(ERROR, TRANSIENT, 150.0, 0.0) == 0.0


@pytest.mark.parametrize(("delay", "given_up"), [(10.0, False), (10.001, True)])
def test_total_is_counted_from_the_first_start_and_the_wait_must_fit_in(delay, given_up):
    tries = attempts(Retry(total=60, wait=delay), at=100.0)
    assert tries.failed(ERROR, TRANSIENT, 150.0, 0.5) == (None if given_up else delay)


def test_a_named_wait_must_fit_into_total_as_well():
    assert attempts(Retry(total=60)).failed(ERROR, Verdict("transient", 61.0), 100.0, 0.5) is None


@pytest.mark.parametrize(("rejoin", "again"), [(160.0, True), (160.001, False)])
def test_total_bounds_refusals_too_where_it_was_set(rejoin, again):
    assert attempts(Retry(total=60)).refused(ERROR, 150.0, rejoin) is again
    assert Attempts(None, 100.0).refused(ERROR, 150.0, 1e9) is True


def test_no_attempt_may_start_after_total_wherever_it_waited():
    tries = attempts(Retry(total=60), at=100.0)
    assert [tries.time_left(now) for now in (100.0, 159.0, 160.0, 161.0)] == [60.0, 1.0, 0.0, -1.0]
    assert Attempts(None, 100.0).time_left(1e9) == math.inf


def test_what_an_item_ends_with_is_its_last_failure():
    tries, refusal = attempts(Retry(on=tenacity.retry_if_result(lambda text: not text))), RuntimeError("refused")
    assert tries.last is None
    tries.refused(refusal, 100.0, 101.0)
    assert tries.last is refusal
    tries.failed(ERROR, TRANSIENT, 102.0, 0.5)
    assert tries.last is ERROR
    assert tries.returned("", 103.0, 0.5) == 0.5
    assert isinstance(tries.last, tenacity.RetryError)
    assert tries.last.last_attempt.result() == ""


def test_stop_is_asked_besides_and_sees_our_clock():
    seen = []

    def stop(state):
        seen.append((state.attempt_number, state.seconds_since_start, state.upcoming_sleep, state.outcome.failed))
        return state.attempt_number == 2

    tries = attempts(Retry(attempts=9, stop=stop, wait=3))
    assert tries.failed(ERROR, TRANSIENT, 101.5, 0.5) == 3.0
    assert tries.failed(ERROR, TRANSIENT, 106.0, 0.5) is None
    assert seen == [(1, 1.5, 3.0, True), (2, 6.0, 3.0, True)]


def test_a_stop_that_looks_at_the_exception_sees_it_whatever_else_is_set():
    seen = []
    tries = attempts(Retry(stop=lambda state: seen.append(state.outcome.exception())))
    assert tries.failed(ERROR, TRANSIENT, 100.0, 0.5) == 0.25
    assert seen == [ERROR]


def test_a_wait_that_looks_at_the_exception_sees_it_whatever_on_says():
    def wait(state):  # as tenacity.wait_exception, which came with a later version than we allow
        return len(str(state.outcome.exception()))

    assert attempts(Retry(wait=wait)).failed(ERROR, TRANSIENT, 100.0, 0.5) == 9.0


def test_stop_after_delay_counts_from_the_items_first_start():
    tries = attempts(Retry(attempts=9, stop=tenacity.stop_after_delay(10), wait=0), at=100.0)
    assert [tries.failed(ERROR, TRANSIENT, now, 0.5) for now in (101.0, 109.9, 110.0)] == [0.0, 0.0, None]


# Results


def test_a_result_stands_unless_on_looks_at_results():
    assert attempts().returned("no number", 100.0, 0.5) is None
    assert Attempts(None, 100.0).returned("no number", 100.0, 0.5) is None
    assert attempts(Retry(on=ValueError)).returned("no number", 100.0, 0.5) is None


def test_an_answer_that_is_not_wanted_is_asked_for_again_until_attempts_run_out():
    tries = attempts(Retry(3, on=tenacity.retry_if_result(lambda text: text != "7"), wait=2))
    assert tries.returned("seven", 100.0, 0.5) == 2.0
    assert tries.returned("sieben", 103.0, 0.5) == 2.0
    error = tries.returned("sept", 106.0, 0.5)
    assert isinstance(error, tenacity.RetryError)
    assert error.last_attempt.result() == "sept"
    assert tries.returned("7", 106.0, 0.5) is None


def test_a_strategy_around_a_coroutine_function_repeats_nothing_and_says_so():
    async def never(outcome):
        return False

    said = "must answer when it is called: nobody would await the coroutine that it returned"
    for retry in (
        Retry(on=tenacity.retry_if_exception(never)),
        Retry(wait=lambda state: never(state)),
        Retry(stop=lambda state: never(state)),
    ):
        with pytest.raises(TypeError, match=said):
            Attempts(retry, 0.0).failed(ValueError(), Verdict("transient"), 0.0, 0.5)
    with pytest.raises(TypeError, match=said):
        Attempts(Retry(on=tenacity.retry_if_result(never)), 0.0).returned("", 0.0, 0.5)


def test_a_rule_over_results_and_failures_sees_both():
    rule = tenacity.retry_if_result(lambda text: text == "") | tenacity.retry_if_exception_type(KeyError)
    tries = attempts(Retry(9, on=rule, wait=1))
    assert tries.returned("", 100.0, 0.5) == 1.0
    assert tries.failed(KeyError(), PERMANENT, 101.0, 0.5) == 1.0
    assert tries.failed(ERROR, TRANSIENT, 102.0, 0.5) is None
    assert tries.returned("fine", 103.0, 0.5) is None
