"""What a run decides, event by event: who takes what, what leaves, who is told, how it ends."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from fanmap._errors import Stopped, TooManyFailures
from fanmap._policy.runs.as_completed import AsCompleted
from fanmap._policy.runs.attempt import Attempts, Retry
from fanmap._policy.runs.effects import END, FEED, HIRE, WAIT, WAKE_ALL, WAKE_READER, Reader, State, Wake
from fanmap._policy.runs.flow import Flow
from fanmap._policy.runs.in_list import InList
from fanmap._policy.runs.in_order import InOrder
from fanmap._policy.runs.inputs import InputBuffer, Unfinished


@dataclass(eq=False)
class Worker:
    index: int = -1
    retiring: bool = False
    under_way: bool = False
    has_new: bool = False

    def begun(self):
        return self.under_way

    def untried(self):
        return self.has_new

    def timings(self):
        return 2, 1.0, 3.0


@dataclass
class Slots:
    limit: int = 8


@dataclass
class Scene:
    """A flow and what it has left for others."""

    flow: Flow
    effects: list = field(default_factory=list)

    def told(self):
        told, self.effects[:] = list(self.effects), []
        return told


def scene(items=None, *, results=None, most=4, limit=8, stop_on_failure=True, **options):
    effects = []
    results = InList(stop_on_failure=stop_on_failure) if results is None else results
    return Scene(Flow(InputBuffer(items, most), results, effects, most=most, hiring=Slots(limit), **options), effects)


def record(index, value=None, error=None):
    return index, value, error, 1, 0.0, 0.0, 5.0


def unfinished(index, *, calls=0, refusals=0, last=None, until=0.0):
    attempts = None
    if last is not None:
        attempts = Attempts(Retry(), 0.0)
        attempts.last = last
    return Unfinished(index, f"item {index}", 1.0, 2.0, calls, refusals, attempts, until)


def windowed(window, **options):
    return InOrder(window, stop_on_failure=options.pop("stop_on_failure", True))


# Words


def test_words_say_what_they_are():
    words = (WAIT, END, FEED, HIRE, WAKE_READER, WAKE_ALL)
    assert [repr(word) for word in words] == ["WAIT", "END", "FEED", "HIRE", "WAKE_READER", "WAKE_ALL"]
    assert Wake([1]) == Wake([1])
    assert not hasattr(Wake([1]), "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Wake([1]).workers = []


def test_states_are_in_the_order_in_which_they_come():
    assert [(state.name, state.value) for state in State] == [
        ("RUNNING", 0), ("DRAINING", 1), ("STOPPING", 2), ("CLOSED", 3)
    ]  # fmt: skip
    assert [(reader.name, reader.value) for reader in Reader] == [("AWAY", 0), ("WAITING", 1), ("WOKEN", 2)]


def test_a_new_run_has_nothing_under_way_and_nothing_to_say():
    it = scene([1])
    flow = it.flow
    assert (flow.state, flow.reader, flow.hired, flow.workers, it.told()) == (State.RUNNING, Reader.AWAY, 0, {}, [])
    assert (flow.reason, flow.cut, flow.begun_items, flow.unaccounted()) == (None, None, {}, 0)


# Hiring


@pytest.mark.parametrize(
    ("most", "items", "limit", "hired"), [(4, 10, 8, 4), (4, 3, 8, 3), (4, 10, 2, 3), (4, 0, 8, 0), (4, 10, 0, 1)]
)
def test_a_list_has_its_workers_at_once_and_one_more_than_slots_to_wait(most, items, limit, hired):
    it = scene(list(range(items)), most=most, limit=limit)
    it.flow.start()
    assert (it.flow.hired, it.told()) == (hired, [HIRE] * hired)


def test_an_iterators_workers_come_with_its_items():
    it = scene(reader_steps=True, most=2)
    it.flow.start()
    assert it.told() == []
    for number in range(3):
        it.flow.push(number, float(number))
    assert (it.told(), it.flow.hired) == ([HIRE, HIRE], 2)


def test_a_worker_that_waits_is_woken_before_another_is_hired():
    it = scene(reader_steps=True, most=4)
    worker = Worker()
    it.flow.push("a", 0.0)
    assert it.flow.take(worker, 0.0) == (0, "a", 0.0)
    assert it.flow.take(worker, 0.0) is WAIT
    it.told()
    it.flow.push("b", 2.0)
    assert it.told() == [Wake([worker])]
    assert it.flow.take(worker, 9.0) == (1, "b", 2.0)


def test_as_the_ceiling_grows_so_do_the_workers():
    it = scene(list(range(10)), most=4, limit=1)
    it.flow.start()
    worker = Worker()
    assert it.told() == [HIRE] * 2
    it.flow.take(worker, 0.0)
    it.flow._hiring.limit = 2
    it.flow.complete(record(0), worker)
    assert it.told() == [HIRE]
    it.flow.complete(record(1))
    assert it.told() == []  # three workers, two slots: one waits already


def test_nobody_is_hired_where_nothing_is_left():
    it = scene([1], most=4)
    it.flow.start()
    worker = Worker()
    it.flow.take(worker, 0.0)
    it.told()
    it.flow.complete(record(0), worker)
    assert it.told() == []


def test_no_more_are_hired_than_there_are_items_without_an_outcome():
    it = scene([1, 2], most=4)
    it.flow.start()
    assert it.told() == [HIRE] * 2
    assert (it.flow.poll(0.0), it.told()) == (WAIT, [])  # those two have not taken theirs yet
    it.flow.take(Worker(), 0.0)
    it.flow.complete(record(0))
    assert it.told() == []
    it.flow.left(None)
    assert (it.flow.poll(0.0), it.told()) == (WAIT, [])  # the one that is left has use for the second
    it.flow.left(None)
    assert it.told() == [WAKE_READER]
    assert (it.flow.poll(0.0), it.told()) == (WAIT, [HIRE])


def test_nor_more_than_were_read_of_an_input_that_is_over():
    it = scene(reader_steps=True, most=4)
    it.flow.push("a", 0.0)
    it.flow.end_input()
    assert it.told() == [HIRE, WAKE_READER]
    assert (it.flow.poll(0.0), it.told()) == (WAIT, [])


# Taking


def test_workers_index_a_list_in_order_and_end_with_it():
    it = scene(["a", "b"])
    worker = Worker()
    assert it.flow.take(worker, 1.0) == (0, "a", 1.0)
    assert it.flow.take(worker, 2.0) == (1, "b", 2.0)
    assert it.flow.take(worker, 3.0) is END


def test_a_full_window_lets_workers_wait_until_results_have_left():
    it = scene(list(range(40)), results=windowed(16), most=4)
    worker = Worker()
    for number in range(16):
        assert it.flow.take(worker, 0.0)[0] == number
    assert it.flow.take(worker, 0.0) is WAIT
    it.flow.complete(record(0, "v"))
    it.told()
    assert it.flow.poll(0.0)[1] == "v"
    assert it.told() == []  # room for one: not worth a wake-up
    it.flow.complete(record(1, "w"))
    assert it.flow.pop_ready()[1] == "w"
    assert it.told() == [Wake([worker])]
    assert it.flow.take(worker, 0.0)[0] == 16


def test_a_worker_that_waits_twice_is_told_of_once():
    it = scene(reader_steps=True)
    worker = Worker()
    assert it.flow.take(worker, 0.0) is WAIT
    assert it.flow.take(worker, 0.0) is WAIT
    it.flow.end_input()
    assert it.told() == [Wake([worker]), WAKE_READER]
    assert it.flow.take(worker, 0.0) is END


def test_where_the_reader_waits_it_is_told_that_workers_have_nothing():
    it = scene(reader_steps=True)
    it.flow.hired = 1
    assert it.flow.take(Worker(), 0.0) is WAIT
    assert it.told() == []  # it does something else, and looks when it comes back
    it.flow.inputs._capacity = 0
    assert it.flow.poll(0.0) is WAIT
    assert it.flow.take(Worker(), 0.0) is WAIT
    assert it.told()[-1] is WAKE_READER


def test_the_read_ahead_is_refilled_before_it_runs_dry():
    it = scene(reader_steps=True, most=2)
    for number in range(16):
        it.flow.push(number, 0.0)
    it.flow.hired = 2
    assert it.flow.poll(0.0) is WAIT
    it.told()
    worker = Worker()
    for _ in range(7):
        it.flow.take(worker, 0.0)
    assert it.told() == []
    it.flow.take(worker, 0.0)
    assert it.told() == [WAKE_READER]


def test_a_worker_that_retires_takes_nothing_more():
    it = scene([1, 2])
    worker = Worker()
    it.flow.take(worker, 0.0)
    worker.retiring = True
    assert it.flow.complete(record(0), worker) is END
    assert it.flow.results.taken == 1


def test_one_that_retires_hires_nobody_the_reader_does_when_it_next_waits():
    """Else a clean-up that cancels every task would leave one that it has not seen."""
    it = scene(list(range(10)), most=2)
    it.flow.start()
    one, other = Worker(), Worker(retiring=True)
    it.flow.take(one, 0.0)
    it.flow.take(other, 0.0)
    it.flow.left(one)
    it.told()
    it.flow.complete(record(1), other)
    assert HIRE not in it.told()
    it.flow.left(other)
    it.flow.poll(0.0)
    assert HIRE in it.told()


def test_the_reader_is_not_told_of_the_read_ahead_while_it_is_away():
    it = scene(reader_steps=True, most=2)
    for number in range(16):
        it.flow.push(number, 0.0)
    it.told()
    for _ in range(16):
        it.flow.take(Worker(), 0.0)
    assert it.told() == []


def test_the_next_item_is_taken_when_the_last_one_ended():
    it = scene([1, 2])
    worker = Worker()
    it.flow.take(worker, 0.0)
    assert it.flow.complete((0, "v", None, 1, 1.0, 2.0, 7.0), worker) == (1, 2, 7.0)


def test_where_nobody_steps_the_input_nobody_is_asked_to():
    it = scene()
    assert it.flow.poll(0.0) is WAIT
    assert it.flow.take(Worker(), 0.0) is WAIT


# What came back


def test_an_item_that_came_back_goes_before_all_others_the_first_one_first():
    it = scene(list(range(9)))
    for _ in range(5):
        it.flow.take(Worker(), 0.0)
    third, first = unfinished(3), unfinished(1)
    it.flow.put_back(third)
    it.flow.put_back(first)
    it.flow.put_back(first)  # told twice
    assert [it.flow.take(Worker(), 0.0) for _ in range(2)] == [first, third]
    assert it.flow.take(Worker(), 0.0)[0] == 5


def test_one_that_waits_for_its_time_is_waited_for_when_nothing_else_is_left():
    it = scene(list(range(3)))
    it.flow.take(Worker(), 0.0)
    late, later = unfinished(0, until=9.0), unfinished(1, until=10.0)
    it.flow.put_back(later)
    it.flow.put_back(late)
    assert it.flow.take(Worker(), 1.0)[0] == 1
    assert it.flow.take(Worker(), 1.0)[0] == 2
    assert it.flow.take(Worker(), 1.0) is late
    assert it.flow.take(Worker(), 1.0) is later
    assert it.flow.take(Worker(), 1.0) is END


def test_one_that_waits_for_its_time_is_taken_early_where_the_window_is_full():
    it = scene(list(range(40)), results=windowed(16))
    for _ in range(16):
        it.flow.take(Worker(), 0.0)
    late = unfinished(3, until=9.0)
    it.flow.put_back(late)
    assert it.flow.take(Worker(), 1.0) is late
    assert it.flow.take(Worker(), 1.0) is WAIT


def test_what_is_recalled_goes_before_what_is_new_and_wakes_those_who_wait():
    it = scene(reader_steps=True)
    worker = Worker()
    for number in range(2):
        it.flow.push(number, 0.0)
    it.flow.take(worker, 0.0)
    it.flow.hired = it.flow.most
    it.flow.take(worker, 0.0)
    assert it.flow.take(worker, 0.0) is WAIT
    it.flow.set_aside(unfinished(0, calls=4))
    it.told()
    it.flow.recall()
    assert it.told() == [Wake([worker])]
    it.flow.push(2, 0.0)
    assert it.flow.take(worker, 0.0).index == 0


def test_a_worker_that_left_while_it_waited_is_not_woken():
    it = scene(reader_steps=True, most=2)
    one = Worker()
    it.flow.hired = 2
    it.flow.take(one, 0.0)
    it.flow.left(one)
    it.told()
    it.flow.push("a", 0.0)
    assert it.told() == [HIRE]


def test_the_reader_is_told_of_a_place_to_fill_and_of_none_where_there_is_no_work():
    it = scene([1, 2, 3], most=2)
    it.flow.start()
    it.told()
    it.flow.left(Worker())
    assert it.told() == [WAKE_READER]
    assert it.flow.poll(0.0) is WAIT
    assert it.told() == [HIRE]
    for _ in range(3):
        it.flow.take(Worker(), 0.0)
    it.flow.left(None)
    assert it.told() == []


def test_the_reader_hires_for_what_came_back():
    it = scene([1])
    it.flow.start()
    worker = Worker()
    it.flow.workers[worker] = None
    it.flow.take(worker, 0.0)
    assert it.flow.poll(0.0) is WAIT
    it.told()
    it.flow.put_back(unfinished(0))
    del it.flow.workers[worker]
    it.flow.left(worker)
    assert it.told() == [WAKE_READER]
    assert it.flow.poll(0.0) is WAIT
    assert (it.told(), it.flow.hired) == ([HIRE], 1)


def test_the_last_worker_that_leaves_tells_the_reader_and_one_that_waited_is_forgotten():
    it = scene(reader_steps=True)
    one, other = Worker(), Worker()
    it.flow.hired = 2
    it.flow.take(one, 0.0)
    it.flow.end_input()
    it.told()
    it.flow.left(one)
    assert it.told() == []
    it.flow.left(other)
    assert (it.told(), it.flow.poll(0.0)) == ([WAKE_READER], END)


def test_what_is_set_aside_comes_back_when_nothing_else_is_left_or_when_it_is_recalled():
    it = scene(list(range(3)))
    for _ in range(2):
        it.flow.take(Worker(), 0.0)
    one, other = unfinished(0, calls=4), unfinished(1, calls=4)
    it.flow.set_aside(one)
    assert it.flow.take(Worker(), 0.0)[0] == 2
    assert it.flow.take(Worker(), 0.0) is one
    it.flow.set_aside(one)
    it.flow.set_aside(other)
    it.told()
    it.flow.recall()
    assert it.told() == [HIRE]
    assert [it.flow.take(Worker(), 0.0) for _ in range(3)] == [one, other, END]


@pytest.mark.parametrize("items", [list(range(9)), None])
def test_what_is_set_aside_goes_on_where_no_other_has_room(items):
    """The reader waits for the first item, and no other may be taken before it has left: all stood still for ever."""
    it = scene(items, results=windowed(2), reader_steps=not items)
    if not items:
        for number in range(2):
            it.flow.push(number, 0.0)
    one, other = unfinished(0, calls=4), unfinished(1, calls=4)
    it.flow.take(Worker(), 0.0)
    it.flow.set_aside(one)
    it.flow.take(Worker(), 0.0)
    assert not it.flow.has_more()
    it.flow.set_aside(other)
    assert [it.flow.take(Worker(), 0.0) for _ in range(3)] == [one, other, WAIT]


def test_items_that_nobody_has_tried_are_those_for_which_there_is_room():
    def of(it):
        return it.flow.has_more(), it.flow.has_less_tried(1)

    it = scene(list(range(3)), results=windowed(2))
    assert of(it) == (True, True)
    it.flow.take(Worker(), 0.0)
    assert of(it) == (True, True)
    it.flow.take(Worker(), 0.0)
    assert of(it) == (False, False)  # the window is full
    at_the_end = scene([0])
    at_the_end.flow.take(Worker(), 0.0)
    assert of(at_the_end) == (False, False)


def test_what_was_set_aside_and_sent_less_often_goes_first():
    it = scene([0, 1])
    for _ in range(2):
        it.flow.take(Worker(), 0.0)
    often, seldom = unfinished(0, calls=4), unfinished(1, calls=2)
    it.flow.set_aside(often)
    assert [it.flow.has_less_tried(calls) for calls in (4, 5)] == [False, True]
    it.flow.set_aside(seldom)
    assert [it.flow.has_less_tried(calls) for calls in (2, 3)] == [False, True]
    assert [it.flow.take(Worker(), 0.0) for _ in range(3)] == [seldom, often, END]


def test_others_are_those_that_came_back_too_and_those_that_workers_have_in_line():
    it = scene([0, 1])
    assert it.flow.has_others()
    for _ in range(2):
        it.flow.take(Worker(), 0.0)
    assert not it.flow.has_others()
    it.flow.put_back(unfinished(0, calls=1))
    assert it.flow.has_others() and not it.flow.has_more()
    it.flow.set_aside(unfinished(1, calls=1))
    assert it.flow.has_others() and not it.flow.inputs.returned
    it.flow.workers[Worker()] = None
    assert not it.flow.waits_untried()
    it.flow.workers[Worker(has_new=True)] = None
    assert it.flow.waits_untried()


def test_workers_may_come_and_go_while_somebody_looks():
    it = scene([0])

    class Leaving(Worker):
        def untried(self):
            it.flow.workers.pop(self)
            return False

    it.flow.workers.update({Leaving(): None, Worker(has_new=True): None})
    assert it.flow.waits_untried()


def test_what_was_set_aside_may_change_while_somebody_looks():
    it = scene([0, 1])
    for _ in range(2):
        it.flow.take(Worker(), 0.0)
    aside = it.flow.inputs.aside

    class Shifty:
        @property
        def calls(self):
            aside.append(unfinished(1, calls=1))
            return 9

    aside.extend([Shifty(), unfinished(0, calls=2)])
    assert it.flow.has_less_tried(3)


def test_nothing_goes_first_in_a_run_that_is_stopped_or_has_a_failure_that_ends_it():
    for end in (
        lambda flow: flow.stop(None, drain=True),
        lambda flow: flow.complete(record(0, error=ValueError())),
    ):
        it = scene(reader_steps=True, results=windowed(9))
        for number in range(2):
            it.flow.push(number, 0.0)
        it.flow.take(Worker(), 0.0)
        assert it.flow.has_less_tried(1)
        end(it.flow)
        assert not it.flow.has_less_tried(1)


def test_what_a_step_of_the_input_would_bring_is_not_there_yet():
    """Those that were refused went round among the workers, without end, where a reader was to step it."""
    it = scene(reader_steps=True, results=windowed(1))
    assert (it.flow.has_more(), it.flow.has_less_tried(1)) == (True, False)
    it.flow.push(0, 0.0)
    assert (it.flow.has_more(), it.flow.has_less_tried(1)) == (True, True)
    it.flow.take(Worker(), 0.0)
    assert (it.flow.has_more(), it.flow.has_less_tried(1)) == (False, False)


def test_those_that_came_back_wait_with_what_is_set_aside_unless_nobody_has_tried_them():
    it = scene(list(range(5)))
    for _ in range(4):
        it.flow.take(Worker(), 0.0)
    refused, new, last = unfinished(0, calls=1), unfinished(1), unfinished(2, calls=1)
    it.flow.put_back(refused)
    it.flow.put_back(new)
    it.flow.set_aside(last)
    assert it.flow.inputs.returned == [new]
    assert list(it.flow.inputs.aside) == [refused, last]
    assert it.flow.take(Worker(), 0.0) is new
    assert it.flow.take(Worker(), 0.0)[0] == 4
    assert it.flow.take(Worker(), 0.0) is refused


def test_of_what_was_set_aside_only_that_before_a_failure_goes_on():
    it = scene(list(range(9)), results=windowed(32))
    for _ in range(6):
        it.flow.take(Worker(), 0.0)
    before, after = unfinished(1), unfinished(5)
    it.flow.set_aside(after)
    it.flow.set_aside(before)
    it.flow.complete(record(3, error=ValueError()))
    assert it.flow.take(Worker(), 0.0) is before
    assert it.flow.take(Worker(), 0.0) is END
    assert list(it.flow.inputs.aside) == [after]
    assert not it.flow.may_start(5) and it.flow.may_start(1)


# Results


def test_the_reader_is_woken_once_and_looks_until_nothing_may_leave():
    it = scene(list(range(9)), results=AsCompleted(32))
    for _ in range(3):
        it.flow.take(Worker(), 0.0)
    it.flow.hired = it.flow.most
    assert it.flow.poll(0.0) is WAIT
    assert it.flow.reader is Reader.WAITING
    it.flow.complete(record(0))
    it.flow.complete(record(1))
    assert (it.told(), it.flow.reader) == ([WAKE_READER], Reader.WOKEN)
    assert it.flow.poll(0.0)[0] == 0
    assert it.flow.reader is Reader.AWAY
    it.flow.complete(record(2))
    assert it.told() == []
    assert [it.flow.pop_ready()[0], it.flow.pop_ready()[0], it.flow.pop_ready()] == [1, 2, None]


def test_an_outcome_that_is_told_twice_counts_once():
    for results in (InList(stop_on_failure=False), windowed(8, stop_on_failure=False), AsCompleted(8)):
        it = scene([1, 2], results=results)
        for _ in range(2):
            it.flow.take(Worker(), 0.0)
        for error in (None, ValueError()):
            for _ in range(2):
                it.flow.complete(record(1 if error else 0, error=error))
        assert (results.ended, results.failed) == (2, 1)


def test_a_slow_input_is_stepped_between_results_but_not_before_each_of_them():
    it = scene(reader_steps=True, results=AsCompleted(32), most=2)
    assert it.flow.poll(0.0) is FEED
    it.flow.push("a", 0.0)
    assert it.flow.take(Worker(), 0.0)[0] == 0
    it.flow.complete(record(0))
    assert it.flow.poll(0.0)[0] == 0  # stepped since the last result left
    assert it.flow.poll(0.0) is FEED
    it.flow.end_input()
    assert it.flow.poll(0.0) is WAIT


def test_what_needs_a_look_at_the_clock_or_a_step_is_not_popped_without_one():
    for options in ({"deadline": 9.0}, {"reader_steps": True}):
        it = scene(results=AsCompleted(32), **options)
        it.flow.push("a", 0.0)
        it.flow.complete(record(0))
        assert it.flow.pop_ready() is None
    it = scene([1], results=AsCompleted(32))
    it.flow.take(Worker(), 0.0)
    it.flow.complete(record(0))
    it.flow.stop(None, drain=True)
    assert it.flow.pop_ready() is None
    assert it.flow.poll(0.0)[0] == 0


def test_a_reader_that_steps_the_input_is_away_and_wakes_nobody():
    it = scene(reader_steps=True, most=1)
    for number in range(8):
        it.flow.push(number, 0.0)
    assert (it.flow.poll(0.0), it.flow.reader) == (WAIT, Reader.WAITING)
    it.flow.take(Worker(), 0.0)
    assert (it.flow.poll(0.0), it.flow.reader) == (FEED, Reader.AWAY)
    it.flow.stop(None, drain=True)
    assert not it.flow.may_feed()


def test_a_failure_ends_a_list_though_others_are_under_way():
    it = scene([1, 2, 3])
    it.flow.hired = 2
    for _ in range(2):
        it.flow.take(Worker(), 0.0)
    it.flow.complete(record(0, error=ValueError()))
    assert it.flow.poll(0.0) is END


def test_the_input_is_not_stepped_beyond_the_window():
    it = scene(reader_steps=True, results=AsCompleted(1), most=2)
    assert it.flow.may_feed()
    it.flow.push("a", 0.0)
    assert not it.flow.may_feed()


def test_a_run_that_is_told_to_drain_twice_still_drains():
    it = scene([1])
    it.flow.stop(Stopped(), drain=True)
    it.flow.stop(ValueError(), drain=True)
    assert (it.flow.state, it.flow.cut) == (State.DRAINING, None)


def test_of_several_results_the_next_leaves_at_once_only_where_the_read_ahead_is_not_empty():
    for pushed, then in ((2, FEED), (3, 1)):
        it = scene(reader_steps=True, results=AsCompleted(32), most=2)
        for number in range(pushed):
            it.flow.push(number, 0.0)
        for number in range(2):
            it.flow.take(Worker(), 0.0)
            it.flow.complete(record(number))
        assert it.flow.poll(0.0)[0] == 0
        said = it.flow.poll(0.0)
        assert said is then or said[0] == then


def test_who_waits_for_the_window_is_not_woken_by_a_reader_that_waits():
    it = scene(list(range(40)), results=windowed(16))
    for _ in range(16):
        it.flow.take(Worker(), 0.0)
    it.flow.hired = it.flow.most
    it.told()
    assert it.flow.take(Worker(), 0.0) is WAIT
    assert (it.flow.poll(0.0), it.told()) == (WAIT, [])


def test_what_ends_with_its_last_failure_says_how_often_it_was_tried():
    it = scene([1, 2], results=AsCompleted(32))
    it.flow.take(Worker(), 0.0)
    it.flow.put_back(unfinished(0, calls=3, refusals=1, last=ValueError(), until=6.0))
    it.flow.stop(Stopped(), drain=True)
    assert it.flow.poll(7.0)[3:] == (2, 1.0, 2.0, 6.0)


# The end


def test_a_run_is_over_when_everything_has_ended_and_nobody_works():
    it = scene([1])
    it.flow.start()
    worker = Worker()
    it.flow.workers[worker] = None
    it.flow.take(worker, 0.0)
    assert it.flow.poll(0.0) is WAIT
    it.flow.complete(record(0), worker)
    assert it.flow.poll(0.0) is WAIT
    assert not it.flow.settled(abandons=True)
    del it.flow.workers[worker]
    it.flow.left(worker)
    assert it.flow.poll(0.0) is END
    assert it.flow.settled(abandons=False)
    assert it.flow.unaccounted() == 0


def test_an_item_without_an_outcome_is_counted_unless_something_stopped_the_run():
    it = scene([1, 2, 3])
    for _ in range(3):
        it.flow.take(Worker(), 0.0)
    it.flow.complete(record(1))
    assert it.flow.unaccounted() == 2
    it.flow.stop(None)
    assert it.flow.unaccounted() == 2
    stopped = scene([1])
    stopped.flow.take(Worker(), 0.0)
    stopped.flow.stop(Stopped())
    assert stopped.flow.unaccounted() == 0
    failed = scene([1, 2])
    for _ in range(2):
        failed.flow.take(Worker(), 0.0)
    failed.flow.complete(record(0, error=ValueError()))
    assert failed.flow.unaccounted() == 0


def test_a_failure_ends_a_list_at_once_and_an_ordered_run_in_its_turn():
    it = scene(list(range(9)), most=2)
    for _ in range(3):
        it.flow.take(Worker(), 0.0)
    it.flow.complete(record(2, error=ValueError()))
    assert it.told() == [WAKE_ALL, WAKE_READER]
    assert (it.flow.take(Worker(), 0.0), it.flow.poll(0.0), it.flow.may_start(0)) == (END, END, False)
    it = scene(list(range(9)), results=windowed(32), most=2)
    for _ in range(3):
        it.flow.take(Worker(), 0.0)
    it.flow.hired = 1
    it.flow.complete(record(2, error=ValueError()))
    assert (it.flow.take(Worker(), 0.0), it.flow.poll(0.0)) == (END, WAIT)
    assert it.flow.may_start(1) and not it.flow.may_start(2)
    it.flow.complete(record(0, "a"))
    it.flow.complete(record(1, "b"))
    assert [it.flow.poll(0.0)[:2] for _ in range(2)] == [(0, "a"), (1, "b")]


def test_a_deadline_stops_the_run_at_its_time_and_says_why():
    late = TimeoutError()
    it = scene([1, 2], deadline=9.0, late=lambda: late)
    it.flow.start()
    worker = Worker(index=0, under_way=True)
    idle = Worker(index=1)
    it.flow.workers = {worker: None, idle: None}
    it.flow.take(worker, 0.0)
    assert it.flow.poll(8.999) is WAIT
    it.told()
    assert it.flow.poll(9.0) is END
    assert (it.flow.state, it.flow.reason, it.flow.begun_items) == (State.STOPPING, late, {0: (2, 1.0, 3.0)})
    assert it.told() == [WAKE_ALL, WAKE_READER]
    assert it.flow.poll(10.0) is END
    assert it.told() == []
    assert it.flow.settled(abandons=True) and not it.flow.settled(abandons=False)


def test_a_deadline_cuts_short_what_a_stop_waits_for():
    late, purpose = TimeoutError(), Stopped()
    it = scene([1, 2], deadline=9.0, late=lambda: late, stop_on_failure=False)
    it.flow.hired = 1
    it.flow.stop(purpose, drain=True)
    assert (it.flow.poll(1.0), it.flow.state) == (WAIT, State.DRAINING)
    it.flow.poll(9.0)
    assert (it.flow.state, it.flow.reason, it.flow.cut) == (State.STOPPING, purpose, late)
    it.flow.stop(ValueError())
    assert (it.flow.reason, it.flow.cut) == (purpose, late)


def test_a_run_that_drains_starts_nothing_and_ends_with_its_last_worker():
    it = scene(list(range(9)), results=AsCompleted(32))
    worker = Worker()
    it.flow.hired = 1
    it.flow.take(worker, 0.0)
    it.flow.stop(Stopped(), drain=True)
    assert it.flow.keeps_failures()
    assert (it.flow.take(worker, 0.0), it.flow.may_start(0), it.flow.may_feed()) == (END, False, False)
    assert it.flow.poll(0.0) is WAIT
    it.flow.complete(record(0, "v"), worker)
    it.flow.left(worker)
    assert [it.flow.poll(0.0)[1], it.flow.poll(0.0)] == ["v", END]
    assert it.told().count(HIRE) == 0


def test_in_a_run_that_drains_a_failure_wakes_those_who_wait_and_a_success_nobody():
    it = scene(list(range(9)), stop_on_failure=False, max_failures=1)
    for _ in range(4):
        it.flow.take(Worker(), 0.0)
    it.flow.complete(record(0, error=ValueError()))
    it.told()
    it.flow.complete(record(1, "v"))
    assert it.told() == []
    it.flow.complete(record(2, error=ValueError()))
    assert WAKE_ALL in it.told()


def test_a_failure_that_stops_nothing_wakes_nobody():
    it = scene(list(range(9)), stop_on_failure=False)
    it.flow.hired = it.flow.most
    it.flow.take(Worker(), 0.0)
    it.flow.complete(record(0, error=ValueError()))
    assert it.told() == []


def test_a_run_that_waits_for_nobody_keeps_no_failures():
    it = scene([1], stop_on_failure=False)
    it.flow.stop(Stopped())
    assert not it.flow.keeps_failures()
    it.flow.put_back(unfinished(0, calls=1, last=ValueError()))
    assert it.flow.results.failed == 0


def test_failures_that_are_raised_are_no_outcome_of_a_run_that_drains():
    it = scene([1])
    assert not it.flow.keeps_failures()
    it.flow.stop(Stopped(), drain=True)
    assert not it.flow.keeps_failures()


@pytest.mark.parametrize("keep", [True, False])
def test_an_item_after_which_nothing_is_worth_starting_stops_the_run_where_failures_are_kept(keep):
    it = scene(list(range(9)), stop_on_failure=not keep)
    for _ in range(2):
        it.flow.take(Worker(), 0.0)
    spent = ValueError()
    it.flow.complete(record(0, error=spent), stop=True)
    assert it.flow.state is (State.DRAINING if keep else State.RUNNING)
    assert it.flow.reason is (spent if keep else None)


def test_the_kth_failure_stops_the_run_and_says_how_many_of_which_kind():
    it = scene(list(range(9)), stop_on_failure=False, max_failures=2)
    for _ in range(3):
        it.flow.take(Worker(), 0.0)
    it.flow.complete(record(0, error=ValueError()))
    assert it.flow.state is State.RUNNING
    it.flow.complete(record(1, error=KeyError()))
    assert it.flow.state is State.DRAINING
    assert isinstance(it.flow.reason, TooManyFailures)
    assert (it.flow.reason.failures, it.flow.reason.kinds) == (2, {"ValueError": 1, "KeyError": 1})
    reason = it.flow.reason
    it.flow.complete(record(2, error=ValueError()))
    assert it.flow.reason is reason


def test_what_had_been_tried_ends_with_its_last_failure_where_that_is_an_outcome():
    last = ValueError()
    it = scene(list(range(9)), stop_on_failure=False)
    for _ in range(4):
        it.flow.take(Worker(), 0.0)
    it.flow.put_back(unfinished(0, calls=3, refusals=1, last=last, until=6.0))
    it.flow.put_back(unfinished(1))
    it.flow.set_aside(unfinished(2, calls=1, last=last))
    it.flow.stop(Stopped(), drain=True)
    assert (it.flow.results.failed, it.flow.results.ended) == (2, 2)
    assert it.flow.results.values[0] is last and it.flow.results.values[2] is last
    assert it.flow.begun_items == {0: (2, 1.0, 2.0), 2: (1, 1.0, 2.0)}
    it.flow.put_back(unfinished(3, calls=1, last=last))
    assert it.flow.results.failed == 3
    it.told()
    it.flow.set_aside(unfinished(1, calls=1, last=last))
    assert (it.flow.results.failed, it.told()) == (4, [WAKE_READER])


def test_where_failures_are_raised_what_had_been_tried_is_dropped():
    it = scene(list(range(9)))
    it.flow.take(Worker(), 0.0)
    it.flow.put_back(unfinished(0, calls=3, last=ValueError()))
    it.flow.stop(Stopped(), drain=True)
    assert it.flow.results.failed == 0


def test_once_it_is_closed_what_comes_in_is_dropped():
    it = scene(reader_steps=True)
    for number in range(3):
        it.flow.push(number, 0.0)
    it.flow.take(Worker(), 0.0)
    it.flow.put_back(unfinished(0))
    it.flow.set_aside(unfinished(5, calls=1))
    assert it.flow.close() == [1, 2, "item 0"]
    assert it.flow.state is State.CLOSED
    assert it.flow.complete(record(0, "v"), Worker()) is END
    assert it.flow.results.ended == 0
    assert it.flow.close() == []


# Several readers


def test_a_second_reader_takes_nothing_away_from_one_that_waits():
    """It would set the reader's state, and the one inside would sleep on."""
    it = scene(range(3), results=windowed(8))
    it.flow.start()
    worker = Worker()
    index, _, _ = it.flow.take(worker, 0.0)
    assert it.flow.poll(0.0) is WAIT
    it.flow.complete(record(index, "first"), worker)
    assert WAKE_READER in it.told()
    assert it.flow.pop_ready() is None
    assert it.flow.poll(1.0) == record(index, "first")
    it.flow.complete(record(1, "second"))
    assert it.flow.pop_ready() == record(1, "second")  # nobody waits


# A window of items that nobody answers


def full_window(*, last=None, **options):
    """Four items fill the window, three of them tried and parted with; the fourth is under way."""
    last = Down() if last is None else last
    it = scene(results=AsCompleted(4), reader_steps=True, stop_on_failure=False, most=2, **options)
    for number in range(4):
        it.flow.push(number, 0.0)
    for _ in range(4):
        it.flow.take(Worker(), 0.0)
    it.flow.put_back(unfinished(0, calls=2, last=last, until=50.0))
    it.flow.set_aside(unfinished(1, calls=1, last=last))
    it.flow.set_aside(unfinished(2, calls=1, last=last))
    it.told()
    return it


class Down(Exception):
    """A server's."""


def test_where_items_that_nobody_answers_fill_the_window_they_end_and_the_run_goes_on():
    it, own, others = full_window(last=(last := Down())), Down(), []
    assert it.flow.complete(record(3, error=own), Worker(), "unanswered") is WAIT
    assert (it.flow.state, it.told()) == (State.RUNNING, [WAKE_READER])
    assert not it.flow.inputs.aside and not it.flow.inputs.returned
    while len(others) < 4:
        said = it.flow.poll(0.0)
        if said is FEED:  # there is room for one that nobody has tried
            it.flow.push("a new one", 0.0)
        else:
            others.append(said[0:3])
    assert others == [(0, None, last), (1, None, last), (2, None, last), (3, None, own)]
    assert it.flow.results.taken > 4


def test_of_those_the_ones_in_other_hands_end_alone_and_the_next_one_decides():
    it = full_window()
    it.flow.complete(record(2, error=Down()), Worker(), "unanswered")
    assert it.flow.state is State.RUNNING
    assert it.flow.poll(0.0)[0] == 0
    it.flow.push("a new one", 0.0)
    assert it.flow.take(Worker(), 0.0)[0] == 4
    it.flow.complete(record(3, error=Down()), Worker(), "unanswered")
    assert it.flow.state is State.RUNNING
    it.flow.complete(record(4, error=Down()), Worker(), "unanswered")
    assert it.flow.state is State.DRAINING


def test_the_run_ends_where_the_window_has_room_or_there_is_no_more_or_all_is_lost():
    it = full_window()
    it.flow.results.bound = 5
    it.flow.complete(record(3, error=Down()), Worker(), "unanswered")
    assert it.flow.state is State.DRAINING
    it = full_window()
    it.flow.inputs.over = True
    it.flow.complete(record(3, error=Down()), Worker(), "unanswered")
    assert it.flow.state is State.DRAINING
    it = full_window()
    it.flow.complete(record(3, error=Down()), Worker(), True)
    assert it.flow.state is State.DRAINING
    it = scene(results=AsCompleted(2), reader_steps=True, stop_on_failure=False)
    for number in range(2):
        it.flow.push(number, 0.0)
    it.flow.take(Worker(), 0.0)
    it.flow.complete(record(0, error=Down()), Worker(), "unanswered")  # the other one was never tried
    assert it.flow.state is State.DRAINING


def test_one_that_came_back_untried_is_kept_for_another_worker():
    it = full_window()
    it.flow.inputs.put_back(unfinished(2))
    it.flow.complete(record(3, error=Down()), None, "unanswered")
    assert [one.index for one in it.flow.inputs.returned] == [2]
