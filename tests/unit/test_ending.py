"""What a run ends with, once."""

from __future__ import annotations

import pytest

from fanmap import partial_results
from fanmap._drive.runs.ending import Ending
from fanmap._policy.runs.as_completed import AsCompleted
from fanmap._policy.runs.flow import Flow
from fanmap._policy.runs.in_order import InOrder
from fanmap._policy.runs.inputs import InputBuffer


def ending(results):
    flow = Flow(InputBuffer(range(4), 4), results, [], most=4, hiring=type("Slots", (), {"limit": 4})())
    return Ending("ask", flow, total=4, seconds=None, keep_failures=False), flow


def ordered(*ends):
    """Results in input order; an exception is a failure."""
    results = InOrder(8, stop_on_failure=True)
    for index, value in enumerate(ends):
        results.take()
        failed = isinstance(value, Exception)
        results.add((index, None if failed else value, value if failed else None, 1, 0.0, 0.0, 1.0))
    return results


def test_a_failure_that_another_reader_has_taken_is_raised_by_that_one_only():
    failure = ValueError("no")
    results = ordered("a", failure)
    it, flow = ending(results)
    flow.stop(None)
    assert results.pop_ready()[1] == "a"
    assert results.pop_ready()[2] is failure
    it.finalize(2.0)  # raises nothing


def test_one_that_nobody_has_taken_is_raised():
    failure = ValueError("no")
    it, flow = ending(ordered("a", failure))
    flow.stop(None)
    with pytest.raises(ValueError, match="no") as caught:
        it.finalize(2.0)
    assert partial_results(caught.value) == {0: "a"}


def test_what_had_finished_is_attached_once_and_kept_when_the_run_is_over():
    results = ordered("a", "b", "c")
    it, _ = ending(results)
    results.pop_ready()
    assert it.finished() == {1: "b", 2: "c"}
    first, second = ValueError("first"), ValueError("second")
    it.attach_partial_results(first)
    it.attach_partial_results(second)
    it.release()
    assert partial_results(first) == it.finished() == {1: "b", 2: "c"}
    assert partial_results(second) == {}
    assert results.finished() == {}


def test_what_was_released_first_is_attached_all_the_same():
    it, _ = ending(ordered("a", "b"))
    it.release()
    error = KeyboardInterrupt()
    it.attach_partial_results(error)
    assert partial_results(error) == {0: "a", 1: "b"}


def test_a_look_takes_nothing():
    results = AsCompleted(8)
    results.take()
    results.add((0, "a", None, 1, 0.0, 0.0, 1.0))
    it, _ = ending(results)
    it.finished()[0] = "changed"
    assert it.finished() == {0: "a"}
    assert results.pop_ready()[1] == "a"


def test_reasons_and_cuts_that_are_false_count():
    """An exception class may have a length of 0."""

    class Empty(Exception):
        def __len__(self):
            return 0

    results = AsCompleted(8)
    for _ in range(2):
        results.take()
    it, flow = ending(results)
    it.keep_failures = True
    reason, cut = Empty("spent"), Empty("late")
    flow.stop(reason, drain=True)
    flow.begun_items = {0: (1, 0.0, 0.0)}
    flow.stop(cut)
    it.finalize(2.0)
    records = [results.pop_ready() for _ in range(4)]
    assert [record[2].__cause__ for record in records] == [cut, reason, reason, reason]
