"""What is left to start: the read-ahead, what came back, what was set aside."""

from __future__ import annotations

import dataclasses

import pytest

from fanmap._policy.runs.inputs import InputBuffer, Unfinished


def unfinished(index, *, calls=0, until=0.0):
    return Unfinished(index, f"item {index}", 1.0, 2.0, calls, 0, None, until)


def any_index(index):
    return True


def test_an_unfinished_item_is_itself_and_does_not_change():
    one, same = unfinished(1), unfinished(1)
    assert one != same
    assert not hasattr(one, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.index = 2  # type: ignore[misc]


@pytest.mark.parametrize(("workers", "room"), [(1, 8), (2, 16), (3, 16), (8, 16), (9, 18), (40, 80)])
def test_the_read_ahead_is_as_long_as_the_workers_need(workers, room):
    inputs = InputBuffer(None, workers)
    for number in range(room):
        assert inputs.has_room()
        inputs.put((number, "item", 0.0))
    assert not inputs.has_room()
    assert len(inputs) == room
    inputs.get()
    assert inputs.has_room()
    inputs.over = True
    assert not inputs.has_room()


def test_the_low_watermark_is_half_and_there_is_none_once_the_input_is_over():
    inputs = InputBuffer(None, 17)
    for number in range(18):
        inputs.put((number, "item", 0.0))
    assert not inputs.at_low_watermark()
    inputs.get()
    assert inputs.at_low_watermark()
    inputs.over = True
    assert not inputs.at_low_watermark()


def test_there_may_be_more_until_the_input_is_over_and_the_read_ahead_empty():
    inputs = InputBuffer(None, 4)
    assert inputs.more(0)
    inputs.put((0, "item", 0.0))
    inputs.over = True
    assert inputs.more(1)
    inputs.get()
    assert not inputs.more(1)
    listed = InputBuffer(["a", "b"], 4)
    assert (listed.over, listed.has_room()) == (True, False)
    assert (listed.more(1), listed.more(2)) == (True, False)


def test_of_what_came_back_that_is_taken_which_is_due_and_may_start():
    inputs = InputBuffer([], 4)
    late, first, second = unfinished(0, until=9.0), unfinished(1), unfinished(2)
    for one in (second, late, first, second):
        inputs.put_back(one)
    assert inputs.returned == [late, first, second]
    assert inputs.take_back(1.0, lambda index: index != 1) is second
    assert inputs.take_back(1.0, lambda index: index != 1) is None
    assert inputs.take_back(9.0, any_index) is late
    assert inputs.returned == [first]


def test_early_that_is_taken_whose_time_comes_next():
    inputs = InputBuffer([], 4)
    last, middle, never, first = (unfinished(index, until=until) for index, until in enumerate((9.0, 8.0, 1.0, 7.0)))
    for one in (last, middle, never, first):
        inputs.put_back(one)
    taken = [inputs.take_early(lambda index: index != 2) for _ in range(4)]
    assert taken == [first, middle, last, None]


def test_what_is_recalled_is_first_in_line_again():
    inputs = InputBuffer([], 4)
    one, other = unfinished(1), unfinished(0)
    inputs.aside.extend([one, other])
    inputs.recall()
    assert (inputs.returned, list(inputs.aside)) == ([other, one], [])


def test_what_was_taken_and_never_started_is_told_once():
    inputs = InputBuffer(None, 4)
    inputs.put((5, "item 5", 0.0))
    inputs.put_back(unfinished(0))
    inputs.put_back(unfinished(1, calls=1))
    inputs.aside.extend([unfinished(2), unfinished(3, calls=1)])
    assert inputs.unstarted() == ["item 5", "item 0", "item 2"]
    assert inputs.unstarted() == []
    assert (len(inputs), inputs.returned, list(inputs.aside)) == (0, [], [])
