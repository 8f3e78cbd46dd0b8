"""The brake: what one refusal, a row of them, an outage and a denied key do to everybody, to the last digit."""

from __future__ import annotations

import dataclasses
import math

import pytest

from fanmap._policy.limits.brake import Brake, Braked, alone, gate_beyond, given_up


def refuse(brake, now, *, wait=None, kind="rate", fewer=False, started=None, chance=0.0):
    started = now if started is None else started
    return brake.refused(wait=wait, kind=kind, fewer=fewer, started=started, now=now, chance=chance)


def fail(brake, now, chance, started=-math.inf):
    """A call that has been under way for ever, unless said otherwise."""
    return brake.failed(now, chance, started)


def test_what_is_said_about_a_refusal_cannot_be_changed():
    braked = Braked(None, 1.0, math.inf, 2.0, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        braked.gate = 0.0
    assert not hasattr(braked, "__dict__")


# A wait that was named


def test_a_named_wait_closes_the_gate_for_exactly_as_long():
    assert refuse(Brake(300), 100.0, wait=2.0) == Braked(
        gate=102.0, spread=1.0, apart=2.0, rejoin=102.0, exhausted=False
    )


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
@pytest.mark.parametrize("wait", [0.01, 2.0, 60.0])
def test_the_refused_call_comes_back_after_the_gate_never_before(wait, chance):
    braked = refuse(Brake(300), 100.0, wait=wait, chance=chance)
    assert braked.rejoin == pytest.approx(100 + wait + chance * (0.1 * wait + 0.25))
    assert braked.rejoin >= braked.gate


def test_a_wait_of_zero_is_none():
    assert refuse(Brake(300), 100.0, wait=0.0, chance=0.5) == refuse(Brake(300), 100.0, chance=0.5)


@pytest.mark.parametrize(("kind", "spread"), [("rate", 1.0), ("overloaded", 1.0), ("ramp", 10.0), ("concurrency", 0.0)])
def test_starts_are_spread_further_where_the_slope_was_refused_and_not_at_all_where_the_crowd_was(kind, spread):
    assert refuse(Brake(300), 0.0, wait=5.0, kind=kind).spread == spread


# No wait named


@pytest.mark.parametrize(("chance", "after"), [(0.0, 0.1), (0.5, 0.3), (0.999, 0.4996)])
@pytest.mark.parametrize("kind", ["rate", "concurrency"])
def test_the_first_round_leaves_the_gate_open(kind, chance, after):
    braked = refuse(Brake(300), 100.0, kind=kind, chance=chance)
    assert braked.gate is None
    assert braked.rejoin == pytest.approx(100 + after)


def test_a_crowd_that_was_refused_together_is_one_round():
    brake = Brake(300)
    refuse(brake, 100.0, started=99.9)
    for number in range(15):
        assert refuse(brake, 100.01 + number / 1000, started=99.9 + number / 1000).gate is None


def test_a_crowd_that_comes_back_one_by_one_is_one_round_still():
    brake = Brake(300)
    refuse(brake, 100.0, started=99.9)
    for start in (100.1, 100.2, 100.3, 100.499):
        assert refuse(brake, start + 0.3, started=start).gate is None
    assert refuse(brake, 100.8, started=100.5).gate == 102.8
    for start in (100.6, 102.7):  # before that gate opens: of the second round
        assert refuse(brake, 102.79, started=start).gate == 104.79
    assert refuse(brake, 104.79, started=104.79).gate == 108.79


def test_who_began_before_a_named_wait_was_over_is_of_its_round():
    brake = Brake(300)
    refuse(brake, 100.0, wait=10.0)
    assert refuse(brake, 110.0, started=109.0).gate is None
    assert refuse(brake, 110.5, started=110.0).gate == 112.5


def test_a_named_wait_of_less_than_half_a_second_makes_no_round_shorter():
    brake = Brake(300)
    refuse(brake, 100.0, wait=0.125)
    assert refuse(brake, 100.5, started=100.25).gate is None
    assert refuse(brake, 100.75, started=100.5).gate == 102.75


def test_a_gate_of_ones_own_never_ends_the_round_of_a_longer_named_wait():
    brake = Brake(300)
    refuse(brake, 0.0, wait=100.0)
    assert refuse(brake, 1.0, kind="ramp").gate == 2.0
    assert refuse(brake, 51.0, started=50.0).gate is None


def test_what_the_ceiling_answers_is_no_round():
    brake = Brake(300)
    for number in range(10):
        assert refuse(brake, float(number), kind="concurrency", fewer=True).gate is None
    assert refuse(brake, 10.0, kind="concurrency").gate is None  # the first
    assert refuse(brake, 11.0, kind="concurrency").gate == 13.0


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_from_the_second_round_the_gate_closes_for_twice_as_long_each_round_up_to_a_minute(chance, share):
    brake, now = Brake(3000), 100.0
    refuse(brake, now, chance=chance)
    for seconds in (4, 8, 16, 32, 60, 60, 60):
        now += 1000
        # Still of one row: nobody asked before, and max_wait is long.
        assert refuse(brake, now, chance=chance).gate == pytest.approx(now + share * seconds)


def test_with_the_gate_closed_the_refused_call_waits_for_it():
    brake = Brake(300)
    refuse(brake, 0.0)
    braked = refuse(brake, 1.0)
    assert braked.rejoin == braked.gate == 3.0


def test_a_success_begins_anew():
    brake = Brake(300)
    refuse(brake, 0.0)
    refuse(brake, 1.0)
    brake.succeeded(1e9)
    assert not brake.engaged
    assert refuse(brake, 2.0).gate is None
    assert brake.engaged


def test_the_first_refusal_after_a_success_is_a_round_however_short_after_the_last():
    brake = Brake(300)
    refuse(brake, 0.0)
    brake.succeeded(0.1)
    assert refuse(brake, 0.25, started=0.125).gate is None
    assert refuse(brake, 1.0).gate == 3.0


def test_a_slope_that_was_refused_closes_the_gate_at_once():
    assert refuse(Brake(300), 100.0, kind="ramp", chance=1.0) == Braked(102.0, 10.0, math.inf, 102.0, False)


def test_two_to_thousands_of_rounds_do_not_overflow():
    brake = Brake(1e12)
    refuse(brake, 0.0)
    for number in range(1, 3000):
        assert refuse(brake, 100.0 * number).gate == 100.0 * number + 0.5 * min(60, 2 ** min(number + 1, 6))


# Where the brake is told later


@pytest.mark.parametrize(("chance", "rejoin"), [(0.0, 100.1), (0.5, 100.3), (1.0, 100.5)])
def test_a_call_by_itself_that_was_told_no_wait_comes_back_as_from_the_first_round(chance, rejoin):
    for wait in (None, 0.0):
        braked = alone("rate", wait, 1e9, 100.0, chance)
        assert (braked.gate, braked.spread, braked.exhausted) == (None, 1.0, False)
        assert braked.rejoin == pytest.approx(rejoin)
        assert braked.rejoin == refuse(Brake(300), 100.0, chance=chance).rejoin


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("wait", [0.5, 20.0, 1e9])
def test_a_call_by_itself_keeps_the_wait_that_it_was_told(wait, chance):
    braked = alone("rate", wait, 1e9, 100.0, chance)
    assert (braked.gate, braked.spread, braked.exhausted) == (100.0 + wait, 1.0, False)
    assert braked.rejoin == pytest.approx(100.0 + wait + chance * (0.1 * wait + 0.25))


# How long is too long


@pytest.mark.parametrize("waited", [0.0, 300.0, 300.001])
@pytest.mark.parametrize("wait", [None, 0.0, 300.0, 300.001, 1e9])
def test_a_call_by_itself_knows_what_is_too_long(wait, waited):
    braked = alone("rate", wait, 300.0, 100.0, 0.0, waited)
    assert braked.exhausted is ((wait or 0.0) > 300 or waited > 300)
    assert braked.gate == (100 + wait if wait else None)


@pytest.mark.parametrize(("wait", "exhausted"), [(300.0, False), (300.001, True), (1e9, True)])
def test_one_wait_above_max_wait_is_too_long_and_is_not_shortened(wait, exhausted):
    braked = refuse(Brake(300), 100.0, wait=wait)
    assert braked.exhausted is exhausted
    assert braked.gate == 100 + wait


@pytest.mark.parametrize("wait", [None, 5.0])
def test_refusals_for_max_wait_without_a_success_are_too_long(wait):
    brake = Brake(300)
    seen = [refuse(brake, 10.0 * number, wait=wait).exhausted for number in range(33)]
    assert seen.index(True) == 31  # at 310 s; at 300 s it is not above it
    assert all(seen[31:])


def test_refusals_that_the_ceiling_answers_are_too_long_after_max_wait_as_well():
    brake = Brake(300)
    seen = [refuse(brake, 10.0 * number, kind="concurrency", fewer=True).exhausted for number in range(33)]
    assert seen.index(True) == 31


def test_a_success_between_makes_it_bearable():
    brake = Brake(300)
    for number in range(100):
        assert not refuse(brake, 10.0 * number, wait=5.0).exhausted
        if number % 20 == 19:
            brake.succeeded(1e9)


@pytest.mark.parametrize(("pause", "is_one_row"), [(299.0, True), (302.0, False)])
def test_refusals_before_a_long_pause_in_which_nobody_asked_do_not_count(pause, is_one_row):
    brake = Brake(300)
    refuse(brake, 0.0)  # it would ask again at 0.1
    refuse(brake, 1.0)  # the gate opens at 3.0
    later = refuse(brake, 3.0 + pause)
    assert (later.gate is not None) is is_one_row
    assert later.exhausted is (3.0 + pause > 300 and is_one_row)


@pytest.mark.parametrize(("pause", "is_one_row"), [(300.0, True), (300.5, False)])
@pytest.mark.parametrize("then", [{"wait": 2.0}, {}, {"kind": "ramp"}])
def test_the_pause_is_counted_from_when_the_last_of_those_refused_would_have_asked_again(pause, is_one_row, then):
    brake = Brake(300)
    refuse(brake, 1000.0, wait=100.0)
    refuse(brake, 1001.0, **then)
    assert refuse(brake, 1100.0 + pause).exhausted is is_one_row


@pytest.mark.parametrize(("now", "is_one_row"), [(1200.0, True), (1301.0, False)])
def test_without_a_named_wait_the_pause_is_counted_from_when_the_refused_call_asked_again(now, is_one_row):
    brake = Brake(300)
    refuse(brake, 1000.0)  # it asks again at 1000.1
    assert (refuse(brake, now).gate is not None) is is_one_row


def test_the_pause_may_begin_in_the_first_second_of_the_clock():
    brake = Brake(1)
    refuse(brake, 0.0)  # it would ask again at 0.1
    assert refuse(brake, 1.5, wait=0.5).exhausted is False


# An outage


def test_eight_failures_in_a_row_are_an_outage():
    brake = Brake(300)
    assert not brake.outage
    assert [fail(brake, 0.0, 0.0) for _ in range(7)] == [None] * 7
    assert not brake.outage
    assert fail(brake, 100.0, 0.0) == 100.25
    assert brake.outage


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_probes_go_ever_more_slowly_up_to_one_in_eight_seconds(chance, share):
    brake = Brake(300)
    for _ in range(7):
        fail(brake, 0.0, chance)
    waits = [fail(brake, 0.0, chance) for _ in range(400)]
    assert waits == [share * seconds for seconds in (0.5, 1, 2, 4)] + [share * 8.0] * 396


def test_two_to_thousands_of_failures_do_not_overflow():
    brake = Brake(300)
    assert [fail(brake, 0.0, 1.0) for _ in range(3000)][-1] == 8.0


def test_after_an_outage_any_success_ends_a_row():
    brake = Brake(300)
    for _ in range(8):
        fail(brake, 100.0, 0.0)
    brake.succeeded(100.0)
    assert (brake.outage, brake.engaged) == (False, False)
    fail(brake, 101.0, 0.0)
    brake.succeeded(99.0)  # it began before the outage that is over
    assert not brake.engaged
    assert [fail(brake, 102.0, 0.0) for _ in range(7)] == [None] * 7


def test_an_answer_that_was_on_its_way_before_does_not_end_an_outage():
    brake = Brake(300)
    for _ in range(8):
        fail(brake, 100.0, 0.0)
    brake.succeeded(99.9)
    assert brake.outage
    assert brake.engaged
    assert fail(brake, 101.0, 0.0) == 101.5  # the second probe's wait, not the first's
    brake.succeeded(100.0)
    assert not brake.outage


def test_one_success_ends_an_outage_and_a_row():
    brake = Brake(300)
    for _ in range(9):
        fail(brake, 0.0, 0.0)
    brake.succeeded(1e9)
    assert not brake.outage
    for _ in range(7):
        assert fail(brake, 0.0, 0.0) is None


@pytest.mark.parametrize(("now", "exhausted"), [(107.0, False), (400.0, False), (400.001, True), (1e9, True)])
def test_an_outage_is_too_long_after_max_wait_from_its_first_failure(now, exhausted):
    brake = Brake(300)
    for number in range(8):
        assert not brake.outage_exhausted(1e12)  # not an outage yet
        fail(brake, 100.0 + number, 0.0)
    assert brake.outage_exhausted(now) is exhausted


def test_a_success_begins_the_clock_of_an_outage_anew():
    brake = Brake(300)
    fail(brake, 0.0, 0.0)
    brake.succeeded(1.0)
    for number in range(8):
        fail(brake, 1000.0 + number, 0.0)
    assert [brake.outage_exhausted(now) for now in (1300.0, 1300.5)] == [False, True]


@pytest.mark.parametrize(
    ("failures", "last", "started", "failing_since", "outage"),
    [
        (3, 102.0, 402.0, 100.0, False),  # just within max_wait of the last failure
        (3, 102.0, 402.5, 500.0, False),
        (8, 107.5, 407.5, 100.0, True),  # of the probe that could have gone half a second after it
        (8, 107.5, 408.0, 500.0, False),
    ],
)
def test_failures_before_a_long_silence_say_nothing_about_now(failures, last, started, failing_since, outage):
    brake = Brake(300)
    for number in range(failures):
        fail(brake, 100.0 + number, 1.0, 99.0 + number)
    assert fail(brake, 500.0, 0.0, started) is None or outage
    assert (brake.failing_since, brake.outage) == (failing_since, outage)
    assert brake.failures == (1 if failing_since == 500.0 else failures + 1)
    assert brake.outage_exhausted(500.0) is outage


def test_a_back_off_of_a_minute_is_no_silence_however_short_max_wait_is():
    brake = Brake(10.0)
    for number in range(8):
        fail(brake, 61.0 * number, 0.0, 61.0 * number - 1.0)
    assert brake.outage_exhausted(427.0)


def test_calls_that_take_longer_than_max_wait_to_fail_are_no_silence():
    brake = Brake(300)
    for number in range(1, 9):
        brake.failed(1000.0 * number, 0.0, 1000.0 * (number - 1))
    assert brake.outage_exhausted(8000.0)


# A denied key


def test_eight_denials_in_a_row_are_the_key():
    brake = Brake(300)
    assert [brake.denied() for _ in range(9)] == [False] * 7 + [True] * 2


@pytest.mark.parametrize("answered_before", [0, 1, 1000])
def test_a_success_between_begins_the_row_anew_before_the_first_and_after_it_alike(answered_before):
    brake = Brake(300)
    for _ in range(answered_before):
        brake.succeeded(1e9)
    for _ in range(10):
        assert not any(brake.denied() for _ in range(7))
        brake.succeeded(0.0)
    assert [brake.denied() for _ in range(8)] == [False] * 7 + [True]


def test_other_failures_and_refusals_between_do_not_begin_it_anew():
    brake = Brake(300)
    for _ in range(7):
        assert not brake.denied()
        fail(brake, 0.0, 0.0)
        refuse(brake, 0.0)
    assert brake.denied()


def test_in_an_outage_an_answer_to_what_was_on_its_way_ends_a_row_of_denials_all_the_same():
    brake = Brake(300)
    for _ in range(8):
        fail(brake, 100.0, 0.0)
    for _ in range(7):
        brake.denied()
    brake.succeeded(99.0)
    assert brake.outage
    assert not brake.denied()


def test_a_success_is_of_interest_after_a_refusal_a_failure_or_a_denial_only():
    for told in (lambda brake: refuse(brake, 0.0), lambda brake: fail(brake, 0.0, 0.0), lambda brake: brake.denied()):
        brake = Brake(300)
        assert not brake.engaged
        told(brake)
        assert brake.engaged
        brake.succeeded(1e9)
        assert not brake.engaged


def test_answers_are_counted_where_it_is_told_of_them():
    brake = Brake(300)
    assert brake.answers == 0
    for count in range(1, 4):
        brake.succeeded(1e9)
        assert brake.answers == count
    for _ in range(8):
        fail(brake, 100.0, 0.0)
    brake.succeeded(0.0)  # of what was on its way: an answer, too
    assert brake.answers == 4


def test_refusals_are_counted_however_it_answers_them():
    brake = Brake(300)
    for count, said in enumerate(({}, {"wait": 2.0}, {"kind": "ramp"}, {"kind": "concurrency", "fewer": True}), 1):
        refuse(brake, 1.0, **said)
        assert brake.refusals == count
    fail(brake, 2.0, 0.0)
    brake.denied()
    brake.succeeded(3.0)
    assert brake.refusals == 4


# What is said when a run is given up


def test_a_gate_that_stays_closed_for_too_long_names_the_number_to_write():
    assert gate_beyond(60.0, 98.35) == (
        "the server asked to wait 98.3 s more, longer than max_wait=60.0: to wait that long, write Limits(max_wait=99)"
    )


@pytest.mark.parametrize(
    ("wait", "refused", "text"),
    [
        (99.5, True, "the server asked to wait 99.5 s, and max_wait is 60: write Limits(max_wait=100)"),
        (60, True, "every call was refused for max_wait=60 s: to keep trying for longer, write Limits(max_wait=120)"),
        (None, True, "every call was refused for max_wait=60 s: to keep trying for longer, write Limits(max_wait=120)"),
        (None, False, "every call failed for max_wait=60 s: to keep trying for longer, write Limits(max_wait=120)"),
    ],
)
def test_a_run_that_is_given_up_names_the_number_to_write(wait, refused, text):
    assert given_up(60, wait, refused=refused) == text


# Written down and taken up again


def whatever_comes(make):
    """What it does next, in each case that its state tells apart."""
    one = make()
    said = [one.since, one.failing_since, one.failures, one.answers, one.refusals, one.engaged, one.outage]
    said += [refuse(make(), 101.0, started=100.2), refuse(make(), 900.0)]
    said += [fail(make(), 102.0, 0.5, started=101.0), fail(make(), 900.0, 0.5, started=899.0)]
    said += [one.denied(), one.denied()]
    one.succeeded(100.4)
    return [*said, one.failures, one.outage]


@pytest.mark.parametrize("happened", ["nothing", "refused", "failed", "outage", "denied", "answered"])
def test_another_one_goes_on_from_its_state(happened):
    def brake():
        one = Brake(300)
        if happened == "refused":
            refuse(one, 98.0, started=97.0)
            refuse(one, 100.0, wait=3.0)
        elif happened == "failed":
            fail(one, 99.0, 0.0)
        elif happened == "outage":
            for _ in range(9):
                fail(one, 100.3, 0.0)
        elif happened == "denied":
            for _ in range(6):
                one.denied()
        elif happened == "answered":
            one.succeeded(1.0)
        return one

    state = brake().state()
    assert all(type(number) is float and math.isfinite(number) for number in state)
    assert whatever_comes(lambda: Brake(300, state)) == whatever_comes(brake)
    assert Brake(300, state).state() == state
