"""The books of a run: when the next input may be taken, what may start, and what is told of both."""

from __future__ import annotations

import pytest

from fanmap._policy.runs.as_completed import AsCompleted
from fanmap._policy.runs.in_list import InList
from fanmap._policy.runs.in_order import InOrder
from fanmap._policy.runs.results import NOTHING_YET, UNFINISHED, ResultBuffer


def take(order, count):
    assert [order.take() for _ in range(count)] == list(range(order.taken - count, order.taken))


def end(order, index, error=None):
    return order.add((index, None if error else f"value {index}", error, 1, 0.0, 0.0, 0.0))


def windowed(window):
    return [InOrder(window, stop_on_failure=True), AsCompleted(window)]


def test_signs_say_what_they_are():
    assert (repr(NOTHING_YET), repr(UNFINISHED)) == ("NOTHING_YET", "UNFINISHED")


def test_only_a_run_that_hands_out_everything_at_the_end_fails_before_what_came_earlier_has_ended():
    assert [kind.fails_at_once for kind in (ResultBuffer, InList, InOrder, AsCompleted)] == [False, True, False, False]


@pytest.mark.parametrize("stop", [True, False])
def test_new_books_are_empty(stop):
    for order in (InList(stop_on_failure=stop), InOrder(4, stop_on_failure=stop), AsCompleted(4)):
        assert (order.taken, order.ended, order.failed, order.handed) == (0, 0, 0, 0)
        assert (order.cut, order.failure) == (None, None)
        assert (order.finished(), order.missing(), order.pop_ready(), order.has_ready()) == ({}, [], None, False)
    assert InList(stop_on_failure=stop).stop_on_failure is stop
    assert InOrder(4, stop_on_failure=stop).stop_on_failure is stop
    assert AsCompleted(4).stop_on_failure is False


# The window


@pytest.mark.parametrize("order", windowed(3), ids=["InOrder", "AsCompleted"])
def test_as_many_may_be_taken_ahead_of_the_consumer_as_the_window_is_wide(order):
    for _ in range(3):
        assert order.may_take() is True
        take(order, 1)
    assert order.may_take() is False
    for number in range(5):
        end(order, number)
        assert order.may_take() is False  # it has ended, and the consumer has not asked
        assert order.pop_ready()[0] == number
        assert order.may_take() is True
        take(order, 1)
        assert order.may_take() is False


def test_a_run_that_hands_out_everything_at_the_end_has_no_window():
    order = InList(stop_on_failure=True)
    take(order, 1000)
    assert order.may_take() is True
    assert order.refill() is True


@pytest.mark.parametrize(
    ("window", "first"),
    [(1, 0), (2, 1), (7, 6), (8, 7), (15, 14), (16, 14), (24, 21), (64, 56), (80, 70)],
)
def test_parked_workers_are_woken_for_an_eighth_of_the_window_or_for_one(window, first):
    """`first` is how many may be ahead of the consumer for the room to be enough."""
    for order in windowed(window):
        seen = []
        for _ in range(window):
            seen.append(order.refill())
            take(order, 1)
        assert seen == [True] * (first + 1) + [False] * (window - first - 1)
        assert order.refill() is False


@pytest.mark.parametrize("order", windowed(16), ids=["InOrder", "AsCompleted"])
def test_the_room_is_measured_from_what_the_consumer_has(order):
    take(order, 16)
    seen = []
    for index in range(3):
        end(order, index)
        order.pop_ready()
        seen.append(order.refill())
    assert seen == [False, True, True]


# What an end says


def test_all_at_the_end_nothing_leaves_before():
    order = InList(stop_on_failure=False)
    take(order, 2)
    assert end(order, 0) is False
    assert end(order, 1, ValueError(1)) is False
    assert order.has_ready() is False


def test_in_input_order_a_result_may_leave_once_all_before_it_have_ended():
    order = InOrder(4, stop_on_failure=False)
    take(order, 3)
    assert [end(order, 1), end(order, 0, ValueError(0)), end(order, 2)] == [False, True, True]
    assert order.pop_ready()[0] == 0
    assert (order.handed, order.has_ready()) == (1, True)


def test_as_it_finishes_every_result_may_leave_at_once():
    order = AsCompleted(4)
    take(order, 2)
    assert [end(order, 1), end(order, 0, ValueError(0))] == [True, True]
    assert order.pop_ready()[0] == 1
    assert (order.handed, order.has_ready()) == (1, True)


# A failure that stops the run


def test_in_input_order_the_first_failure_stops_what_comes_after_it():
    order = InOrder(8, stop_on_failure=True)
    take(order, 5)
    late, early = ValueError(3), ValueError(1)
    end(order, 3, late)
    assert (order.cut, order.failure) == (3, (3, late))
    assert [order.may_start(index) for index in range(5)] == [True, True, True, False, False]
    assert (order.may_take(), order.refill()) == (False, False)
    end(order, 4, ValueError(4))
    assert order.failure == (3, late)
    end(order, 1, early)
    assert (order.cut, order.failure, order.failed, order.ended) == (1, (1, early), 3, 3)


def test_in_input_order_nothing_is_taken_when_the_failure_has_left():
    order = InOrder(8, stop_on_failure=True)
    take(order, 1)
    end(order, 0, ValueError(0))
    assert order.pop_ready()[0] == 0
    assert (order.may_take(), order.refill()) == (False, False)


def test_all_at_the_end_the_first_failure_in_time_stops_everything():
    order = InList(stop_on_failure=True)
    take(order, 5)
    late = ValueError(3)
    end(order, 3, late)
    end(order, 1, ValueError(1))
    assert (order.cut, order.failure, order.failed, order.ended) == (0, (3, late), 2, 2)
    assert not any(order.may_start(index) for index in range(5))
    assert (order.may_take(), order.refill()) == (False, False)


def test_a_failure_that_stops_the_run_is_not_among_the_values():
    order = InList(stop_on_failure=True)
    take(order, 3)
    end(order, 1, ValueError(1))
    end(order, 2)
    assert order.values == [UNFINISHED, UNFINISHED, "value 2"]
    assert (order.finished(), order.missing()) == ({2: "value 2"}, [0])


def test_a_failure_that_stops_nothing_is_among_the_values_and_not_among_what_succeeded():
    order = InList(stop_on_failure=False)
    take(order, 3)
    error = ValueError(1)
    end(order, 1, error)
    end(order, 2)
    assert order.values == [UNFINISHED, error, "value 2"]
    assert (order.finished(), order.missing()) == ({2: "value 2"}, [0])
    assert (order.cut, order.failure, order.may_take()) == (None, None, True)


# The end


def test_what_did_not_leave_is_told_in_input_order():
    order = InOrder(8, stop_on_failure=False)
    take(order, 5)
    for index in (4, 1, 2):
        end(order, index, ValueError() if index == 2 else None)
    assert list(order.finished().items()) == [(1, "value 1"), (4, "value 4")]
    assert order.missing() == [0, 3]
    as_finished = AsCompleted(20)
    take(as_finished, 20)
    for index in (18, 9, 1, 2):
        end(as_finished, index, ValueError() if index == 2 else None)
    assert list(as_finished.finished().items()) == [(1, "value 1"), (9, "value 9"), (18, "value 18")]
    assert as_finished.missing() == [index for index in range(20) if index not in (1, 2, 9, 18)]


def test_what_is_forgotten_holds_no_result_and_no_exception():
    collected = InList(stop_on_failure=True)
    ordered, as_finished = InOrder(8, stop_on_failure=True), AsCompleted(8)
    for order in (collected, ordered, as_finished):
        take(order, 3)
        end(order, 2, ValueError())
        end(order, 1)
        order.clear()
        assert order.failure is None
        assert order.pop_ready() is None
        assert (order.finished(), order.has_ready()) == ({}, False)
    assert collected.values == []
    assert (ordered._done, list(as_finished._ready)) == ({}, [])


def test_a_kind_of_books_says_what_it_keeps_and_what_leaves():
    order = ResultBuffer(4, stop_on_failure=True)
    for ask in (order.pop_ready, order.has_ready, order.finished, order.missing):
        with pytest.raises(NotImplementedError):
            ask()
    with pytest.raises(NotImplementedError):
        order._fail(0, ValueError())
    with pytest.raises(NotImplementedError):
        order.add((0, None, None, 1, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("stop", [False, True])
def test_what_comes_after_a_list_was_let_go_of_is_dropped(stop):
    order = InList(stop_on_failure=stop)
    for _ in range(2):
        order.take()
    order.clear()
    for index, error in enumerate((None, ValueError())):
        assert order.add((index, "answer", error, 1, 0.0, 0.0, 0.0)) is False
    assert (order.values, order.failures(), order.finished()) == ([], [], {})
