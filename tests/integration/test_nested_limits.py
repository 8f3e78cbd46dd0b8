"""Two Limits asked for inside each other: in one order nothing is said, in both one warning names the functions."""

from __future__ import annotations

import threading
import warnings

import pytest

from fanmap import Limits, parallel_map

pytestmark = pytest.mark.usefixtures("nothing_left")


class Pair:
    """Two functions, each under Limits of its own with one slot, that call each other's inner part."""

    def __init__(self):
        self.one, self.other = Limits(1), Limits(1)
        self.busy, self.go = threading.Event(), threading.Event()

        @parallel_map(limits=self.one)
        def ask(inner):
            return inner(None) if inner else self.hold()

        @parallel_map(limits=self.other)
        def look_up(inner):
            return inner(None) if inner else self.hold()

        self.ask, self.look_up = ask, look_up

    def hold(self):
        self.busy.set()
        assert self.go.wait(120)

    def waits(self, outer, inner, limits):
        """The outer function's call waits for the inner one's Limits, whose slot another call has."""
        self.busy.clear()
        self.go.clear()
        said = []

        def main():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                outer(inner)
            said.extend(str(warning.message) for warning in caught)

        holder = threading.Thread(target=inner, args=(None,))
        holder.start()
        assert self.busy.wait(120)
        waiter = threading.Thread(target=main)
        waiter.start()
        while not limits.stats.waiting:
            pass
        self.go.set()
        holder.join()
        waiter.join()
        return said


def test_one_order_is_nothing_to_speak_of():
    pair = Pair()
    for _ in range(3):
        assert pair.waits(pair.ask, pair.look_up, pair.other) == []


def test_the_opposite_order_is_said_once_and_names_both():
    pair = Pair()
    assert pair.waits(pair.ask, pair.look_up, pair.other) == []
    (said,) = pair.waits(pair.look_up, pair.ask, pair.one)
    assert said == (
        "look_up calls ask while it holds a slot of its own Limits, and ask calls look_up in the opposite order. When "
        "both Limits are full, each waits for the other forever. Take them in the same order everywhere, or give "
        "these functions one Limits"
    )
    assert pair.waits(pair.look_up, pair.ask, pair.one) == []


def test_nested_calls_under_one_limits_have_no_order():
    account = Limits(1)

    @parallel_map(limits=account)
    def ask(depth):
        return ask.map([depth - 1] * 3) if depth else 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask.map([2, 2])
