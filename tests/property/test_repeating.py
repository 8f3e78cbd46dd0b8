"""Repeats and brakes: delays within their bounds, attempts and total time bounded, no wait ever shortened."""

from __future__ import annotations

import math

import tenacity
from hypothesis import given
from hypothesis import strategies as st

from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive, Ceiling
from fanmap._policy.limits.brake import Brake
from fanmap._policy.runs.attempt import Attempts, Retry
from fanmap._policy.runs.refusals import Refusals

chances = st.floats(0, 1, exclude_max=True)
moments = st.floats(0, 1e6)
kinds = st.sampled_from(["transient", "overloaded", "rate", "permanent", "spent", "forbidden"])
waits = st.one_of(st.none(), st.floats(0.001, 1e4))
tries = st.lists(st.tuples(kinds, waits, st.floats(0, 100), chances), max_size=40)


@given(st.integers(1, 12), st.floats(0.1, 1000), moments, tries)
def test_attempts_and_total_are_bounded_and_the_default_wait_is_full_jitter(attempts, total, began, tries):
    tried, now = Attempts(Retry(attempts, total=total), began), began
    for count, (kind, wait, took, chance) in enumerate(tries, 1):
        now += took
        delay = tried.failed(ValueError(), Verdict(kind, wait), now, chance)
        if delay is None:
            break
        assert kind in ("transient", "overloaded", "rate")
        assert count < attempts
        assert now + delay <= began + total
        jitter = chance * min(60.0, 0.25 * 2.0**count)
        assert delay == (jitter if wait is None else max(jitter, wait))
        now += delay
    assert tried.count <= attempts


@given(tries)
def test_unasked_no_failure_is_repeated(tries):
    tried = Attempts(None, 0.0)
    for kind, wait, took, chance in tries:
        assert tried.failed(ValueError(), Verdict(kind, wait), took, chance) is None
        assert tried.returned("text", took, chance) is None


@given(st.floats(0.1, 1000), st.floats(0, 2000), st.floats(0, 2000))
def test_a_refused_call_comes_back_within_its_total_or_not_at_all(total, now, wait):
    assert Attempts(Retry(total=total), 0.0).refused(ValueError(), now, now + wait) == (
        now + (now + wait - now) <= total
    )
    assert Attempts(None, 0.0).refused(ValueError(), now, now + wait)


@given(st.lists(st.sampled_from([float("nan"), math.inf, -math.inf, -1.0, 0.0, 3.5]), min_size=5, max_size=5), chances)
def test_whatever_a_users_wait_returns_the_delay_is_finite_and_not_negative(said, chance):
    values = iter(said)
    tried = Attempts(Retry(6, wait=lambda _: next(values)), 0.0)
    for _ in said:
        delay = tried.failed(ConnectionError(), Verdict("transient"), 1.0, chance)
        assert delay is not None and math.isfinite(delay) and delay >= 0


@given(st.integers(1, 6), st.lists(st.booleans(), min_size=8, max_size=8))
def test_an_unwanted_result_is_asked_for_again_until_the_attempts_run_out(attempts, wanted):
    tried = Attempts(Retry(attempts, on=tenacity.retry_if_result(lambda value: not value), wait=0.0), 0.0)
    for count, good in enumerate(wanted, 1):
        verdict = tried.returned(good, 1.0, 0.5)
        if good:
            assert verdict is None
            return
        if count == attempts:
            assert isinstance(verdict, tenacity.RetryError) and verdict.last_attempt.result() is False
            return
        assert verdict == 0.0


refusals = st.lists(
    st.tuples(st.sampled_from(["rate", "concurrency", "ramp"]), waits, st.floats(0, 30), st.floats(0, 5), chances),
    min_size=1, max_size=30,
)  # fmt: skip


@given(refusals, st.floats(1, 1e4))
def test_a_wait_is_never_shortened_and_refusals_are_bounded_by_max_wait(refusals, max_wait):
    brake, now, first, again = Brake(max_wait), 100.0, None, 0.0
    for kind, wait, later, took, chance in refusals:
        now += later
        if first is None or now - took - again > max_wait:  # nobody had asked for so long
            first = now
        braked = brake.refused(wait=wait, kind=kind, started=now - took, now=now, chance=chance)
        again = max(again, braked.rejoin)
        assert brake.engaged
        if wait is not None:
            assert braked.gate == now + wait
            assert braked.gate <= braked.rejoin <= braked.gate + 0.1 * wait + 0.25
        elif braked.gate is not None:
            assert now < braked.gate <= now + 60.0
            assert braked.rejoin >= braked.gate
        assert braked.rejoin > now
        assert braked.exhausted == (max(wait or 0.0, now - first) > max_wait)
    brake.succeeded(now)
    assert not brake.engaged
    assert not brake.refused(wait=None, kind="rate", started=now, now=now + 2 * max_wait, chance=0.5).exhausted


@given(st.lists(st.tuples(st.floats(0, 5), chances), min_size=1, max_size=40))
def test_an_outage_begins_with_the_eighth_failure_in_a_row_and_probes_within_eight_seconds(failures):
    brake, now = Brake(300.0), 0.0
    for count, (later, chance) in enumerate(failures, 1):
        now += later
        probe = brake.failed(now, chance, now)
        assert (probe is not None) == brake.outage == (count >= 8)
        if probe is not None:
            longest = min(8.0, 0.5 * 2.0 ** (count - 8))
            assert now + 0.5 * longest <= probe <= now + longest
    brake.succeeded(now)
    assert not brake.outage and brake.failed(now, 0.5, now) is None


@given(st.lists(st.sampled_from(["denied", "succeeded", "failed", "refused"]), max_size=60))
def test_denials_mean_the_key_when_eight_ended_in_a_row_with_no_success_between(events):
    brake, row = Brake(300.0), 0
    for event in events:
        if event == "denied":
            row += 1
            assert brake.denied() == (row >= 8)
        elif event == "succeeded":
            row = 0
            brake.succeeded(1e9)
        elif event == "failed":
            brake.failed(0.0, 0.5, 0.0)
        else:
            brake.refused(wait=None, kind="rate", started=0.0, now=0.0, chance=0.5)


@given(
    st.lists(
        st.tuples(waits, st.floats(0, 30), st.integers(0, 2), st.integers(0, 3), chances), min_size=1, max_size=40
    ),
    st.floats(1, 1e4),
)
def test_an_item_by_itself_never_asks_within_a_wait_and_is_bounded_by_its_own_clock(refusals, max_wait):
    item, now, answers, told, row, first, was = Refusals(), 100.0, 7, 5, 0, None, False
    for wait, later, more, others, chance in refusals:
        now += later
        row += 1 if first is None or was or more else 0
        first = now if first is None else first
        answers, told = answers + more, told + others
        own = item.again(now, answers, told)
        told += not own
        assert own == item.own >= was
        assert not own or row >= 3
        assert not item.too_long(now, max_wait) or now - first > max_wait
        if own:
            rejoin = item.rejoin(wait, now, chance)
            assert now + max(1.0, wait or 0.0) <= rejoin <= now + max(8.0, 1.1 * (wait or 0.0) + 0.25)
        was = own


@given(
    st.integers(1, 20), st.integers(0, 20), st.integers(0, 50),
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 80)), max_size=80),
)  # fmt: skip
def test_the_ceiling_stays_within_its_bounds_and_is_cut_once_an_epoch(minimum, more, further, events):
    ceiling = Ceiling(Adaptive(minimum + more, minimum, minimum + more + further))
    for refused, behind, crowd in events:
        before, epoch = ceiling.limit, ceiling.epoch
        if refused:
            ceiling.refused(epoch - behind, crowd)
            assert ceiling.limit <= before
            assert ceiling.epoch == epoch + (behind == 0)
        else:
            ceiling.answered(epoch - behind, crowd, before)
            assert ceiling.limit >= before
            assert ceiling.limit == before or behind == 0
        assert minimum <= ceiling.limit <= minimum + more + further
