"""The ceiling: what each refusal and each answer does to it, to the last digit."""

from __future__ import annotations

import dataclasses

import pytest

from fanmap import Adaptive
from fanmap._policy.limits.adaptive import Ceiling, Change


def ceiling(start=8, minimum=1, maximum=256):
    return Ceiling(Adaptive(start, minimum, maximum))


def cut(found, crowd):
    found.refused(found.epoch, crowd)


def round_of(found, answers=None):
    """As many answers as there are slots, of calls that began when the limit was in use."""
    for _ in range(found.limit if answers is None else answers):
        found.answered(found.epoch, found.limit, found.limit)


def test_it_starts_at_start_and_doubles_a_round():
    found = ceiling(start=8)
    assert found.limit == 8
    limits = []
    for _ in range(3):
        round_of(found)
        limits.append(found.limit)
    assert limits == [16, 32, 64]


def test_a_slow_start_asks_whether_the_limit_was_in_use_when_the_call_began():
    found = ceiling(start=8)
    for _ in range(8):
        found.answered(0, 8, 8)  # by the last of them the limit is 15: eight would be too few of that
    assert found.limit == 16


@pytest.mark.parametrize(("crowd", "counts"), [(8, True), (7, False), (1, False)])
def test_it_grows_only_while_eight_in_ten_are_in_use(crowd, counts):
    found = ceiling(start=10)
    found.answered(0, crowd, 10)
    assert found.limit == (11 if counts else 10)


def test_after_a_cut_an_answer_counts_only_if_the_limit_of_now_was_in_use():
    found = ceiling(start=64)
    cut(found, 21)
    assert found.limit == 18  # 20 · 0.92 = 18.4
    for _ in range(200):
        found.answered(1, 16, 18)
    assert found.limit == 21  # of which 16 are less than eight in ten; 16 of 20 would be enough


def test_a_refusal_cuts_to_92_of_100_of_what_went_well():
    found = ceiling(start=101)
    cut(found, 101)
    assert found.limit == 92
    assert found._value == pytest.approx(100 * 0.92)
    assert found._peak == 100
    assert found._cubic_k == pytest.approx((8 / 0.4) ** (1 / 3))


def test_a_crowd_smaller_than_the_limit_says_what_went_well():
    found = ceiling(start=64)
    cut(found, 33)  # 32 were served
    assert found._value == pytest.approx(32 * 0.92)


def test_a_crowd_larger_than_the_limit_counts_as_the_limit():
    found = ceiling(start=10)
    cut(found, 500)
    assert found._value == pytest.approx(9.2)


def test_one_cut_an_epoch():
    found = ceiling(start=64)
    for _ in range(20):
        found.refused(0, 64)  # one crowd, refused together
    assert (found.epoch, found.limit) == (1, 57)  # 63 · 0.92 = 57.96
    found.refused(1, 57)
    assert (found.epoch, found.limit) == (2, 51)  # 56 · 0.92 = 51.52


def test_a_crowd_that_began_at_once_tells_one_by_one_how_many_it_was_too_many():
    found = ceiling(start=16, maximum=16)
    for still in range(15, 3, -1):
        found.refused(0, 16, still)
    assert (found.epoch, found.limit) == (1, 4)
    found.refused(0, 16, 9)  # more than the limit says nothing
    assert found.limit == 4
    found.refused(1, 4, 3)
    assert (found.epoch, found.limit) == (2, 2)  # 3 · 0.92
    found.refused(0, 16, 1)  # of an epoch before the last: long ago
    assert found.limit == 2


def test_a_crowd_refused_by_a_429_that_does_not_say_is_cut_once():
    found = ceiling(start=16, maximum=16)
    for _ in range(12):
        found.refused(0, 16)
    assert found.limit == 13


def test_what_is_under_way_besides_lowers_nothing_where_it_is_the_limit_itself():
    found = ceiling(start=64)
    cut(found, 26)
    assert found._value == 23.0
    found.refused(0, 26, 23)
    assert (found._value, found._peak) == (23.0, 25.0)


def test_what_is_under_way_besides_never_lowers_it_below_the_minimum():
    found = ceiling(start=16, minimum=5)
    cut(found, 16)
    found.refused(0, 16, 2)
    assert (found._value, found._peak, found._floor) == (5.0, 5.0, 5.0)


def test_after_what_is_under_way_besides_it_grows_from_there_by_one_a_round():
    found = ceiling(start=16, maximum=16)
    cut(found, 16)
    found.answered(1, 13, 13)  # a part of a round that does not count towards the next
    found.refused(0, 16, 4)
    assert found._value == 4.0
    found.answered(1, 4, 4)
    assert found._value == 4.25


def test_a_refusal_can_be_answered_down_to_the_minimum_and_was_if_the_limit_was_cut_since():
    found = ceiling(start=3, minimum=2)
    assert found.can_answer(0)
    cut(found, 3)
    assert found.limit == 2
    assert found.can_answer(0)  # it was: of the crowd that was cut
    assert not found.can_answer(1)
    assert not ceiling(start=2, minimum=2).can_answer(0)


def test_answers_of_an_earlier_epoch_change_nothing():
    found = ceiling(start=64)
    cut(found, 64)
    for _ in range(1000):
        found.answered(0, 64, 64)
    assert found.limit == 57


def test_it_comes_back_as_cubic_does_quick_at_first_then_carefully_then_boldly():
    found = ceiling(start=65)
    cut(found, 65)  # 64 went well
    limits = []
    for _ in range(6):
        round_of(found)
        limits.append(found._value)
    low, k = 64 * 0.92, ((64 - 64 * 0.92) / 0.4) ** (1 / 3)
    for number, value in enumerate(limits[:5], start=1):
        # Rounds are counted in answers over the limit of the moment, so a round is up to 5 % shorter or longer.
        assert value == pytest.approx(max(low, 0.4 * (number - k) ** 3 + 64, low + number), rel=0.02)
    steps = [after - before for before, after in zip([low, *limits], limits, strict=False)]
    assert steps[0] > steps[1] > steps[2] < steps[3] < steps[4] < steps[5]


def test_it_grows_by_one_a_round_at_least():
    found = ceiling(start=5)
    cut(found, 5)  # 4 · 0.92 = 3.68, so K is 0.93 and the cubic is slower than one a round at first
    assert found.limit == 3
    round_of(found, answers=3)
    assert found._value >= 3.68 + 0.7
    assert found.limit == 4


def test_a_second_cut_below_the_last_peak_aims_below_it():
    found = ceiling(start=101)
    cut(found, 101)
    cut(found, 51)  # 50 went well, far below 100: the capacity is falling
    assert found._peak == pytest.approx(50 * 1.92 / 2)
    assert found._value == pytest.approx(46.0)


def test_a_second_cut_near_the_last_peak_aims_at_it():
    found = ceiling(start=101)
    cut(found, 101)
    round_of(found, answers=500)
    assert found.limit >= 99
    cut(found, 100)  # 99 is within 2 % of 100
    assert found._peak == 99


def test_a_second_cut_two_percent_below_the_last_peak_still_aims_at_it():
    found = ceiling(start=101)
    cut(found, 101)
    round_of(found, answers=500)
    cut(found, 99)
    assert found._peak == 98


def test_the_rounds_since_a_cut_are_counted_from_zero():
    found = ceiling(start=101)
    cut(found, 101)
    round_of(found)
    cut(found, 51)
    found.answered(2, 46, 46)
    assert found._value == pytest.approx(0.4 * (1 / 46 - 5 ** (1 / 3)) ** 3 + 48)  # peak 48, K from (48 - 46) / 0.4


def test_a_small_cut_has_a_short_plateau():
    found = ceiling(start=5)
    cut(found, 5)
    assert found._cubic_k == pytest.approx((0.32 / 0.4) ** (1 / 3))


def test_a_single_call_that_was_refused_means_that_one_is_the_capacity():
    found = ceiling(start=8)
    cut(found, 1)
    assert (found._peak, found._value, found._cubic_k) == (1.0, 1.0, 0.0)


def test_the_minimum_holds_and_so_does_one():
    found = ceiling(start=8, minimum=5)
    for _ in range(10):
        cut(found, 1)
    assert found.limit == 5
    found = ceiling(start=8)
    for _ in range(10):
        cut(found, 1)
    assert found.limit == 1


def test_the_maximum_holds_and_there_it_rests():
    found = ceiling(start=8, maximum=20)
    assert not found.resting
    for _ in range(4):
        round_of(found)
    assert found.limit == 20
    assert found.resting
    assert found.maximum == 20
    cut(found, 20)
    assert not found.resting
    round_of(found, answers=400)
    assert (found.limit, found.resting) == (20, True)


def test_a_plain_number_rests_until_it_is_refused():
    found = ceiling(start=16, maximum=16)
    assert found.resting
    cut(found, 16)
    assert (found.limit, found.resting) == (13, False)  # 15 · 0.92 = 13.8


START = "start must be >= minimum >= 1 and <= maximum, got start={}, minimum={}, maximum={}"


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"start": 0}, ValueError, START.format(0, 1, 256)),
        ({"start": 300}, ValueError, START.format(300, 1, 256)),
        ({"minimum": 9}, ValueError, START.format(8, 9, 256)),
        ({"minimum": 0}, ValueError, START.format(8, 0, 256)),
        ({"maximum": 7}, ValueError, START.format(8, 1, 7)),
        ({"start": 8.0}, TypeError, "start must be an int >= 1, got 8.0"),
        ({"minimum": "1"}, TypeError, "minimum must be an int >= 1, got '1'"),
        ({"maximum": True}, TypeError, "maximum must be an int >= 1, got True"),
    ],
)
def test_settings_out_of_bounds_are_errors_when_they_are_made(settings, kind, message):
    with pytest.raises(kind) as caught:
        Adaptive(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [Adaptive(), Change(1.0, 8, 7, "refused")], ids=["Adaptive", "Change"])
def test_what_may_be_shared_cannot_be_changed(value):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, 1)
    assert not hasattr(value, "__dict__")
