"""What is in a group is found at any depth, whatever the classes in it make of being looked at."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanmap import Verdict
from fanmap._policy.failures.groups import carries_interrupt, leaves
from fanmap._policy.failures.signals import read_error

from ..simulation.hostile import hostiles


class Refused(Exception):
    def __init__(self, wait):
        super().__init__("429")
        self.status_code, self.headers = 429, {"retry-after": str(wait)}


def test_members_come_in_order_and_what_is_no_group_is_itself():
    one, two, three, four = (ValueError(n) for n in range(4))
    group = ExceptionGroup("a", [one, ExceptionGroup("b", [two, three]), four])
    assert list(leaves(group)) == [one, two, three, four]
    assert list(leaves(one)) == [one]


def test_groups_in_groups_are_opened_without_recursion():
    deep = ExceptionGroup("deep", [Refused(30), ValueError()])
    for _ in range(5000):
        deep = ExceptionGroup("deeper", [deep])
    assert len(list(leaves(deep))) == 2
    assert read_error(deep, wall=0.0) == Verdict("permanent", 30.0)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_found_at_any_depth(interrupt):
    assert carries_interrupt(interrupt())
    assert carries_interrupt(BaseExceptionGroup("a", [ValueError(), BaseExceptionGroup("b", [interrupt()])]))


def test_what_is_no_interrupt_is_none():
    assert not carries_interrupt(ValueError())
    assert not carries_interrupt(BaseExceptionGroup("a", [asyncio.CancelledError(), GeneratorExit()]))


@settings(deadline=None)
@given(st.lists(hostiles(), min_size=1, max_size=4))
def test_beside_members_that_object_the_others_are_read(several):
    errors = [one.among() for one in several]
    group = ExceptionGroup("several", [*errors, Refused(3)])
    assert read_error(group, wall=0.0) == Verdict("permanent", 3.0)
    assert not carries_interrupt(group)


def test_a_cancellation_beside_a_refusal_takes_no_wait_away():
    group = BaseExceptionGroup("both", [asyncio.CancelledError(), Refused(3)])
    assert read_error(group, wall=0.0) == Verdict("permanent", 3.0)
