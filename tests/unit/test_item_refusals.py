"""One item's refusals, to the last digit: whose they are, when it asks again, and how long it may go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fanmap._policy.runs.attempt import Attempts, Retry
from fanmap._policy.runs.effects import END, WAIT
from fanmap._policy.runs.flow import Flow
from fanmap._policy.runs.in_list import InList
from fanmap._policy.runs.in_order import InOrder
from fanmap._policy.runs.inputs import InputBuffer, Unfinished
from fanmap._policy.runs.refusals import Refusals


def refused(*fates: tuple[int, int], since: float = 100.0) -> tuple[Refusals, list[bool]]:
    """Refused once a second; answers to others so far, and refusals told of so far, its own included."""
    refusals = Refusals()
    return refusals, [refusals.again(since + number, *fate) for number, fate in enumerate(fates)]


def by_itself(*answers: int, since: float = 100.0) -> tuple[Refusals, list[bool]]:
    """The same where nobody else is refused: what is told of are its own, until they are its own trouble."""
    refusals = Refusals()
    told, own = 0, []
    for number, answered in enumerate(answers):
        own.append(refusals.again(since + number, answered, told))
        told += not own[-1]
    return refusals, own


@pytest.mark.parametrize(
    ("answers", "own"),
    [
        ([0, 1, 2], [False, False, True]),
        ([7, 8, 30, 31], [False, False, True, True]),
        ([0, 0, 0, 0, 0], [False] * 5),  # nobody is answered: everybody's affair
        ([5, 5, 5, 5, 5], [False] * 5),
        ([0, 1, 1, 1], [False] * 4),
        ([0, 1, 1, 2], [False, False, False, True]),  # one without an answer between is no sign either way
        ([0, 0, 1, 1, 2], [False, False, False, False, True]),
        ([0, 1, 2, 2, 2], [False, False, True, True, True]),  # and from then on it is the item
    ],
)
def test_from_the_third_with_answers_to_others_between_they_are_its_own(answers: list[int], own: list[bool]) -> None:
    refusals, found = by_itself(*answers)
    assert found == own
    assert refusals.own is own[-1]


@pytest.mark.parametrize(
    ("answered", "others_refused", "third"),
    [(2, 0, 3), (20, 5, 3), (20, 6, 4), (20, 20, 7), (10, 40, 21), (2, 198, 459)],
)
def test_where_others_are_refused_too_it_is_the_item_when_chance_no_longer_explains_it(
    answered: int, others_refused: int, third: int
) -> None:
    """Others fare the same between any two of its refusals; (refused share) ^ row < 0.01."""
    refusals, told = Refusals(), 0
    for row in range(1, 500):
        share = others_refused / (others_refused + answered)
        own = refusals.again(float(row), row * answered, told)
        told += others_refused + (not own)
        assert own is (row >= third)
        assert own is (row >= 3 and share**row < 0.01)
        if own:
            break


def test_refusals_that_are_told_of_late_are_not_taken_for_those_of_others_that_were_not() -> None:
    assert refused((0, 0), (1, 0), (2, 0))[1] == [False, False, True]  # its own two are not counted yet
    assert refused((0, 5), (1, 6), (2, 7))[1] == [False, False, True]
    assert refused((0, 5), (1, 7), (2, 8))[1] == [False, False, False]  # one of another, and two answers: (1/3)³


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_it_asks_again_by_itself_each_time_later_up_to_eight_seconds(chance: float, share: float) -> None:
    refusals, _ = by_itself(0, 1, 2)
    for seconds in (2, 4, 8, 8, 8):
        assert refusals.rejoin(None, 200.0, chance) == 200 + share * seconds
        assert refusals.rejoin(0.0, 200.0, chance) == 200 + share * seconds
        assert refusals.again(200.0, 2, 2)


def test_it_never_asks_again_before_the_wait_that_it_was_told() -> None:
    refusals, _ = by_itself(0, 1, 2)
    assert refusals.rejoin(7.0, 200.0, 0.0) == 207.0
    assert refusals.rejoin(7.0, 200.0, 0.5) == 207.0 + 0.5 * (0.7 + 0.25)
    assert refusals.rejoin(0.01, 200.0, 0.0) == 201.0  # a wait that does not help is no reason to ask a hundred times
    assert refusals.rejoin(1e9, 200.0, 0.0) == 200 + 1e9


def test_thousands_of_refusals_do_not_overflow() -> None:
    refusals, _ = by_itself(*range(5000))
    assert refusals.rejoin(None, 0.0, 1.0) == 8.0


@pytest.mark.parametrize(("when", "too_long"), [(100.0, False), (400.0, False), (400.001, True), (1e9, True)])
def test_its_own_clock_runs_from_its_first_refusal(when: float, too_long: bool) -> None:
    refusals, _ = by_itself(0, 1, 2, 3)
    reason = "refused for max_wait=300.0 s while others were answered"
    assert refusals.too_long(when, 300.0) == (reason if too_long else None)


def test_its_own_clock_may_begin_at_any_time() -> None:
    refusals, _ = by_itself(0, 1, 2, since=0.0)
    assert [bool(refusals.too_long(when, 300.0)) for when in (300.0, 300.5)] == [False, True]
    refusals, _ = by_itself(0, 1, 2, since=-50.0)
    assert [bool(refusals.too_long(when, 300.0)) for when in (250.0, 250.5)] == [False, True]


def test_an_item_that_chance_may_yet_explain_does_not_end() -> None:
    """It stands back when its fate is unlikely, and ends when it is impossible: with half refused, after 20."""
    refusals, told = Refusals(), 0
    for row in range(1, 25):
        own = refusals.again(1000.0 * row, row * 10, told)
        told += 10 + (not own)
        assert own is (row >= 7)
        assert bool(refusals.too_long(1e9, 300.0)) is (0.5**row < 1e-6)
        assert not refusals.too_long(1000.0, 300.0)


@pytest.mark.parametrize(("wait", "too_long"), [(None, False), (0.0, False), (300.0, False), (300.5, True)])
def test_a_wait_that_the_server_names_ends_it_where_it_is_longer_than_anybody_wants_to_wait(wait, too_long) -> None:
    """It was waited out: of an item that is its own trouble nobody else is told."""
    refusals, _ = by_itself(0, 1, 2)
    reason = "the server asked to wait 300.5 s, and max_wait is 300.0: write Limits(max_wait=301)"
    assert refusals.own
    assert refusals.too_long(10.0, 300.0, wait) == (reason if too_long else None)
    assert Refusals().too_long(10.0, 300.0, wait) is None  # everybody's affair: the brake decides


def test_an_items_tries_keep_its_refusals() -> None:
    for retry in (None, Retry()):
        one, other = Attempts(retry, 0.0), Attempts(retry, 0.0)
        assert [one.refusals.again(float(number), number, number) for number in range(3)] == [False, False, True]
        assert other.refusals.again(3.0, 3, 3) is False
    assert not hasattr(Refusals(), "__dict__")


# Those that stand back while their worker goes on with others


def unfinished(index: int, until: float) -> Unfinished:
    return Unfinished(index, f"item {index}", 0.0, 0.0, 1, 1, None, until)


def anything(index: int) -> bool:
    return True


def test_what_came_back_goes_first_when_its_time_has_come() -> None:
    inputs = InputBuffer(range(9), 4)
    for index, until in ((3, 50.0), (1, 20.0), (2, 10.0)):
        inputs.put_back(unfinished(index, until))
    assert inputs.take_back(9.999, anything) is None
    assert inputs.take_back(10.0, lambda index: index != 2) is None
    taken = inputs.take_back(10.0, anything)
    assert taken is not None and taken.index == 2
    assert inputs.take_back(10.0, anything) is None
    again = [inputs.take_back(60.0, anything) for _ in range(3)]
    assert [one and one.index for one in again] == [1, 3, None]  # both are due: the first of the input first


def test_who_has_nothing_else_to_do_takes_what_is_due_next() -> None:
    inputs = InputBuffer(range(9), 4)
    for index, until in ((3, 50.0), (1, 20.0), (2, 10.0), (4, 10.0)):
        inputs.put_back(unfinished(index, until))
    early = [inputs.take_early(lambda index: index != 3) for _ in range(4)]
    assert [one and one.index for one in early] == [2, 4, 1, None]
    last = inputs.take_early(anything)
    assert last is not None and last.index == 3
    assert inputs.returned == []


class Worker:
    index, retiring = 0, False

    def begun(self) -> bool:
        return False

    def timings(self) -> tuple[int, float, float]:
        return 0, 0.0, 0.0


def flow(items: range | None, results: Any) -> Flow[Worker]:
    found: Flow[Worker] = Flow(InputBuffer(items, 4), results, [], most=4, hiring=SimpleNamespace(limit=4))
    found.hired = 2
    return found


def taken(found: object) -> object:
    """The index of what a worker takes, or the word."""
    return found.index if isinstance(found, Unfinished) else found[0] if isinstance(found, tuple) else found


def test_a_worker_goes_on_with_others_until_the_time_of_what_stands_back_has_come() -> None:
    run = flow(range(4), InList(stop_on_failure=False))
    worker = Worker()
    assert taken(run.take(worker, 0.0)) == 0
    run.put_back(unfinished(0, 10.0))
    assert [taken(run.take(worker, now)) for now in (1.0, 9.999)] == [1, 2]
    assert taken(run.take(worker, 10.0)) == 0
    run.put_back(unfinished(0, 30.0))
    assert taken(run.take(worker, 11.0)) == 3
    assert taken(run.take(worker, 12.0)) == 0  # nothing else is left: this worker waits for it
    assert run.take(worker, 13.0) is END


def test_a_worker_that_has_to_wait_for_input_or_for_the_reader_waits_for_what_stands_back_instead() -> None:
    for run in (flow(range(9), InOrder(1, stop_on_failure=False)), flow(None, InOrder(1, stop_on_failure=False))):
        worker = Worker()
        if run.inputs.items is None:
            run.push("item 0", 0.0)
        assert taken(run.take(worker, 0.0)) == 0
        assert run.take(Worker(), 0.0) is WAIT
        run.put_back(unfinished(0, 10.0))
        assert taken(run.take(worker, 1.0)) == 0
        assert run.take(worker, 2.0) is WAIT


def test_what_stands_back_in_a_run_that_is_stopped_ends_with_its_last_refusal() -> None:
    run = flow(range(4), InList(stop_on_failure=False))
    attempts = Attempts(None, 0.0)
    attempts.last = ValueError("refused")
    run.take(Worker(), 0.0)
    run.put_back(Unfinished(0, "item 0", 0.0, 0.0, 3, 3, attempts, 10.0))
    run.stop(None, drain=True)
    assert run.take(Worker(), 20.0) is END
    assert run.results.ended == 1
