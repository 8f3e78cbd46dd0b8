"""Totals of several processes: dollars and units that all of them spend, in virtual time and with real processes."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

import fanmap
from fanmap import BudgetExceeded, Limits, NotRun, Rate, parallel_map, partial_results
from fanmap._drive.shared.place import read_place
from fanmap._drive.shared.registry import open_store
from fanmap._shared.command import shared
from fanmap._shared.table import table
from fanmap.testing import SimulatedStore, VirtualTime

from .test_max_spend import Priced, cents


def three(store, **settings):
    return [Limits(8, shared=store, **settings) for _ in range(3)]


def run_all(functions, many=100):
    """What each run has finished, and what it ended with."""
    ended = [None] * len(functions)

    async def one(place, function):
        try:
            ended[place] = await function.amap(range(many))
        except (BudgetExceeded, ValueError) as error:
            ended[place] = error

    async def main():
        async with anyio.create_task_group() as group:
            for place, function in enumerate(functions):
                group.start_soon(one, place, function)

    with VirtualTime() as virtual:
        virtual.run(main())
    return ended


def test_dollars_are_spent_by_everybody_and_everybody_s_run_ends():
    server, limits = Priced(5), three(SimulatedStore(), max_spend=3.00, price=cents)
    errors = run_all([parallel_map(limits=one)(server.ask) for one in limits])
    assert [type(error) for error in errors] == [BudgetExceeded] * 3
    assert {error.amount for error in errors} == {3.00}
    assert max(error.spent for error in errors) == pytest.approx(3.00)
    assert server.asked == sum(len(partial_results(error)) for error in errors) == 60
    assert sum(one.stats.spent for one in limits) == pytest.approx(3.00)
    assert min(one.stats.spent for one in limits) > 0.50


def test_until_one_call_of_anybody_is_priced_one_is_under_way_and_then_all_know():
    server = Priced(5)
    watched = []

    async def ask(number):
        watched.append(server.in_flight)
        return await server.ask(number)

    limits = three(SimulatedStore(), max_spend=9.00, price=cents)
    assert run_all([parallel_map(limits=one)(ask) for one in limits], 5) == [list(range(5))] * 3
    assert watched[0] == 0 and watched[1:9] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_units_of_one_s_own_are_never_overrun_where_cost_is_an_upper_bound():
    took = iter([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5] * 100)
    begun = []

    async def work(number):
        begun.append(number)
        await anyio.sleep(1.0)
        return next(took)

    rate = Rate(200, math.inf, cost=lambda _: 9.0, usage=lambda units: units)
    errors = run_all([parallel_map(limits=one)(work) for one in three(SimulatedStore(), rate=rate)])
    assert all(type(error) is BudgetExceeded for error in errors)
    spent = sum(sum(partial_results(error).values()) for error in errors)
    assert 191 < spent <= 200


def test_the_smallest_amount_of_anybody_holds_and_it_is_said():
    store, server = SimulatedStore(), Priced(5)
    one, two = (Limits(8, shared=store, max_spend=amount, price=cents) for amount in (1.00, 5.00))
    with pytest.warns(UserWarning, match=r"dollars in all 5 here, 1 there"):
        errors = run_all([parallel_map(limits=limits)(server.ask) for limits in (one, two)])
    assert [error.amount for error in errors] == [1.00, 1.00]
    assert server.asked == 20


@pytest.mark.whole
def test_with_a_rate_beside_it_both_hold():
    server, limits = Priced(5), three(SimulatedStore(), max_spend=0.50, price=cents, rpm=60)
    errors = run_all([parallel_map(limits=one)(server.ask) for one in limits])
    assert all(type(error) is BudgetExceeded for error in errors)
    assert server.asked == 10


def test_a_price_that_is_none_ends_the_run_of_its_own_process():
    server, store = Priced(5), SimulatedStore()
    good, bad = (Limits(2, shared=store, max_spend=1.00, price=price) for price in (cents, lambda *_: math.nan))
    found = run_all([parallel_map(limits=limits)(server.ask) for limits in (good, bad)], 8)
    assert found[0] == list(range(8))
    assert type(found[1]) is ValueError and "price must return dollars" in str(found[1])


def test_prices_alone_are_counted_here_and_stop_nothing():
    server, limits = Priced(5), three(SimulatedStore(), price=cents)
    assert run_all([parallel_map(limits=one)(server.ask) for one in limits], 6) == [list(range(6))] * 3
    assert [one.stats.spent for one in limits] == [pytest.approx(0.30)] * 3


def test_with_return_exceptions_what_never_started_says_why():
    server, limits = Priced(5), Limits(4, shared=SimulatedStore(), max_spend=0.50, price=cents)
    ask = parallel_map(limits=limits)(server.ask)
    with VirtualTime() as virtual:
        found = virtual.run(ask.amap(range(30), return_exceptions=True))
    assert found[:10] == list(range(10))
    assert all(type(one) is NotRun and type(one.__cause__) is BudgetExceeded for one in found[10:])


def test_what_a_journal_says_counts_first(tmp_path):
    path, server = str(tmp_path / "answers.jsonl"), Priced(5)
    for amount, asked in ((0.50, 10), (0.50, 10), (0.80, 16)):
        ask = parallel_map(limits=Limits(8, shared=SimulatedStore(), max_spend=amount, price=cents))(server.ask)
        with VirtualTime() as virtual, pytest.raises(BudgetExceeded):
            virtual.run(ask.amap(range(40), resume=path))
        assert server.asked == asked


def test_a_store_that_lost_its_memory_is_told_what_was_spent():
    store, server = SimulatedStore(), Priced(5)
    limits = three(store, max_spend=3.00, price=cents)

    async def ask(number):
        if server.asked == 30:
            store.forget()
        return await server.ask(number)

    errors = run_all([parallel_map(limits=one)(ask) for one in limits])
    assert all(type(error) is BudgetExceeded for error in errors)
    # What two of them had begun, when the third came back first, may be counted twice or not at all, for a moment.
    assert 60 - 16 <= server.asked <= 60 + 16


def test_another_price_in_one_process_is_an_error(tmp_path):
    place = str(tmp_path / "budget")
    first = Limits(2, shared=place, max_spend=1.0, price=cents)
    with pytest.raises(ValueError, match="another classify or price"):
        Limits(2, shared=place, max_spend=1.0, price=lambda *_: 0.1)
    with pytest.raises(ValueError, match="other rates"):
        Limits(2, shared=place, price=cents)
    del first


# Real processes

PATIENCE = 120.0  # seconds

SOURCE = """
import math, os, sys
from fanmap import BudgetExceeded, Limits, Rate, parallel_map

account = Limits(4, rate=Rate(20, math.inf), shared=sys.argv[1])

@parallel_map(limits=account)
def work(number):
    os.write(1, b"began\\n")
    return len(os.read(0, 1))

try:
    work.map(range(100))
    os.write(1, b"all\\n")
except BudgetExceeded as error:
    os.write(1, f"over {error.spent:g}\\n".encode())
while os.read(0, 1):
    pass
"""


class Caller:
    """A process whose calls end when they are told to, a line each."""

    def __init__(self, place):
        environ = os.environ | {"PYTHONPATH": str(Path(fanmap.__file__).parents[1])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SOURCE, place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ,
        )  # fmt: skip
        self.said = b""

    def says(self, seconds):
        """Does it say something within so many seconds?"""
        return b"\n" in self.said or bool(select.select([self.process.stdout], [], [], seconds)[0])

    def line(self):
        """The next one; empty: there are no more."""
        while b"\n" not in self.said:
            if not self.says(PATIENCE):
                pytest.fail("it says nothing")
            piece = os.read(self.process.stdout.fileno(), 4096)
            if not piece:
                return ""
            self.said += piece
        line, _, self.said = self.said.partition(b"\n")
        return line.decode()

    def go_on(self, lines):
        self.process.stdin.write("\n" * lines)
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def callers():
    made = []

    def make(place):
        made.append(Caller(place))
        return made[-1]

    yield make
    for caller in made:
        caller.end()


def shown(place):
    """What `fanmap shared` shows."""
    store = open_store(read_place(place))
    try:
        view = store.look()
    finally:
        store.close()
    return "" if view is None else table("it", place, view)


def wait_for(place, line):
    for _ in range(1000):
        if line in (said := shown(place)).splitlines():
            return
        time.sleep(0.05)
    pytest.fail(f"it says {said}, and not {line!r}")


def wait_for_total(place, text):
    wait_for(place, f"total      {text}")


@pytest.mark.whole
def test_what_a_killed_process_had_booked_stays_spent_and_the_last_to_leave_clears_it(tmp_path, callers):
    place = str(tmp_path / "budget")
    first = callers(place)
    assert [first.line() for _ in range(4)] == ["began"] * 4
    wait_for_total(place, "0 of 20 requests in all, 4 booked by calls under way")
    second = callers(place)
    wait_for(place, "processes  2")
    begun = 4
    while not second.says(1.0):  # once it has heard that the other waits, a slot goes there when a call of its own ends
        first.go_on(1)
    assert second.line() == "began"
    os.kill(first.process.pid, signal.SIGKILL)
    while first.line():
        begun += 1
    # Those that were answered, and those that perhaps were: what they leave is for the other.
    second.go_on(100)
    lines = ["began"]
    while lines[-1] == "began":
        lines.append(second.line())
    assert (len(lines), lines[-1]) == (20 - begun + 1, "over 20")
    wait_for_total(place, "20 of 20 requests in all")
    third = callers(place)
    assert third.line() == "over 20"
    for caller in (second, third):
        with contextlib.suppress(BrokenPipeError):
            caller.process.stdin.close()
        caller.process.wait()
    fourth = callers(place)
    assert fourth.line() == "began"


@pytest.mark.whole  # a newcomer waits for half a minute: whoever had slots may not have been heard of yet
def test_a_reset_begins_at_nothing_though_its_members_know_better(tmp_path, callers):
    place = str(tmp_path / "budget")
    first = callers(place)
    first.go_on(100)
    while (line := first.line()) == "began":
        pass
    assert line == "over 20"
    wait_for_total(place, "20 of 20 requests in all")
    assert shared(place, watch=False, reset=True) == 0
    wait_for_total(place, "0 of 20 requests in all")
    second = callers(place)
    assert second.line() == "began"
