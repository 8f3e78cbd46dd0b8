"""One reader at a time, everybody in the end, and no wake-up lost."""

from __future__ import annotations

import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fanmap._drive.drivers.threads import take_turn
from fanmap._drive.runs.turn import Turn
from fanmap.testing import VirtualTime


def test_one_has_it_and_the_next_is_woken():
    turn, woken = Turn(), []
    assert turn.take("one")
    assert not turn.take("other")
    place = turn.join(lambda: woken.append("first"))
    turn.join(lambda: woken.append("second"))
    turn.give_back("one")
    assert woken == ["first"]
    assert turn.take("other")
    turn.leave(place)
    turn.give_back("other")
    assert woken == ["first", "second"]


def test_who_has_it_may_come_again_and_only_they_can_give_it_back():
    turn = Turn()
    assert not turn.held_by("one")
    assert turn.take("one")
    assert turn.take("one")
    assert turn.held_by("one")
    turn.give_back("other")
    assert turn.held_by("one")
    turn.give_back("one")
    turn.give_back("one")
    assert turn.take("other")


def test_who_leaves_without_it_wakes_the_next():
    turn, woken = Turn(), []
    turn.take("one")
    first = turn.join(lambda: woken.append("first"))
    turn.join(lambda: woken.append("second"))
    turn.give_back("one")
    turn.leave(first)  # cancelled between its wake-up and its turn
    assert woken == ["first", "second"]


def test_who_left_is_not_woken_and_a_closed_loop_is_passed_over():
    def closed():
        raise RuntimeError("Event loop is closed")

    turn, woken = Turn(), []
    turn.take("one")
    turn.leave(turn.join(lambda: woken.append("gone")))
    turn.join(closed)
    turn.join(lambda: woken.append("last"))
    turn.give_back("one")
    assert woken == ["last"]


class Readers(RuleBasedStateMachine):
    """Readers that come, wait, are woken and leave in any order; a free turn always has somebody on the way."""

    def __init__(self):
        super().__init__()
        self.turn, self.holder = Turn(), None
        self.waiting = {}  # number: [place, woken?]
        self.count = 0

    @rule()
    def comes(self):
        self.count += 1
        self.tries(self.count)

    def tries(self, number):
        if self.turn.take(number):
            assert self.holder is None
            self.holder = number
            return
        reader = self.waiting[number] = [None, False]
        reader[0] = self.turn.join(lambda: reader.__setitem__(1, True))
        if self.turn.take(number):  # given back in between
            self.holder = number
            self.turn.leave(self.waiting.pop(number)[0])

    @precondition(lambda self: self.holder is not None)
    @rule()
    def gives_back(self):
        holder, self.holder = self.holder, None
        self.turn.give_back(holder)

    @precondition(lambda self: any(woken for _, woken in self.waiting.values()))
    @rule(data=st.data())
    def runs_after_its_wake_up(self, data):
        number = data.draw(st.sampled_from([n for n, (_, woken) in self.waiting.items() if woken]))
        self.turn.leave(self.waiting.pop(number)[0])
        self.tries(number)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def is_cancelled(self, data):
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        place, _ = self.waiting.pop(number)
        self.turn.leave(place)

    @invariant()
    def a_free_turn_has_somebody_on_the_way(self):
        if self.holder is None and self.waiting:
            assert any(woken for _, woken in self.waiting.values())


TestReaders = Readers.TestCase
TestReaders.settings = settings(deadline=None)


def test_threads_that_share_it_are_never_two_at_once_and_all_end():
    for seed in range(20):
        with VirtualTime(seed=seed) as virtual:
            turn, inside, taken = Turn(), [], []

            def reader(turn=turn, inside=inside, taken=taken, virtual=virtual):
                me = threading.get_ident()
                for _ in range(5):
                    take_turn(turn, me)
                    inside.append(me)
                    assert inside == [me]
                    virtual.sleep(1)
                    taken.append(inside.pop())
                    turn.give_back(me)

            started = [virtual.start(reader) for _ in range(4)]
            for thread in started:
                virtual.join(thread)
            assert len(taken) == 20
            assert virtual.now() == 20
