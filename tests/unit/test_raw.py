"""What is carried on a user's exception is carried, and nothing of its class runs."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import traceback
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanmap import _raw, partial_results
from fanmap._errors import note_item
from fanmap._partial import attach_partial

from ..simulation.hostile import COMPLAINTS, INTERRUPTS, QUIRKS, Hostile, hostile, hostiles


def notes_of(error):
    return BaseException.__dict__["__dict__"].__get__(error).get("__notes__")


@settings(deadline=None)
@given(hostiles(complaints=(*COMPLAINTS, *INTERRUPTS)))
def test_every_exception_carries_what_had_finished_and_a_note_in_any_combination(one):
    error = one.among()
    attach_partial(error, {3: "paid"})
    note_item(error, "fanmap: item 5 of ask")
    assert partial_results(error) == {3: "paid"}
    assert type(_raw.type_name(error)) is str
    assert _raw.is_a(error, Exception)
    assert not _raw.is_a(error, KeyboardInterrupt)
    above = RuntimeError("above")
    above.__cause__ = error
    assert partial_results(above) == {3: "paid"}


def test_an_exception_is_pickled_without_the_results_that_cannot_be():
    """As a pool of processes does: it would raise what pickle says, and the exception would be gone."""
    error = ValueError("no answer")
    attach_partial(error, {0: "paid", 1: threading.Lock(), 2: lambda: None, 3: ["paid as well"]})
    note_item(error, "fanmap: item 4 of ask")
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), arrived.args, arrived.__notes__) == (ValueError, error.args, error.__notes__)
    assert partial_results(arrived) == {0: "paid", 3: ["paid as well"]}
    assert partial_results(pickle.loads(pickle.dumps(arrived))) == partial_results(arrived)
    assert list(partial_results(error)) == [0, 1, 2, 3]
    assert partial_results(copy.copy(error)) == partial_results(error)
    attach_partial(error, {0: ["paid"], 1: len})
    copied = partial_results(copy.deepcopy(error))
    assert copied == partial_results(error)
    assert copied[0] is not partial_results(error)[0]


@pytest.mark.parametrize("quirk", QUIRKS)
def test_no_line_of_the_exceptions_class_runs(quirk):
    ran = []

    class Told(BaseException):
        def __init__(self, *args):
            ran.append(quirk)

    error = Hostile((quirk,), Told).made()
    attach_partial(error, {})
    note_item(error, "a note")
    partial_results(error)
    _raw.type_name(error)
    _raw.is_a(error, KeyboardInterrupt)
    assert ran == []


@pytest.mark.parametrize(
    ("quirks", "notes"),
    [
        ((), ["ours"]),
        (("notes is None",), ["ours"]),
        (("notes is shared",), ["see the manual", "ours"]),
        (("notes is a tuple",), ["see the manual", "ours"]),
        (("notes is a text",), None),
        (("notes is a number",), None),
        (("notes raises",), None),
        (("add_note",), ["ours"]),
        (("setattr", "getattribute"), ["ours"]),
    ],
)
def test_a_note_is_added_once_and_to_no_notes_of_another_kind(quirks, notes):
    error = Hostile(quirks).made()
    note_item(error, "ours")
    note_item(error, "ours")
    assert notes_of(error) == notes


def test_notes_of_the_class_stay_as_they_are():
    first, second = (Hostile(("notes is shared",)).made() for _ in range(2))
    note_item(first, "ours")
    note_item(second, "ours")
    assert notes_of(second) == ["see the manual", "ours"]


@pytest.mark.parametrize("own", [["a"], ("a",)])
def test_notes_that_the_exception_has_already_are_kept(own):
    error = ValueError("no")
    error.__notes__ = own
    note_item(error, "ours")
    assert list(error.__notes__) == ["a", "ours"]
    assert "".join(traceback.format_exception_only(error)).splitlines()[1:] == ["a", "ours"]


def test_a_frozen_and_slotted_exception_that_is_no_property_of_ours():
    @dataclass(frozen=True, slots=True)
    class Refused(Exception):
        status: int

    error = Refused(429)
    with pytest.raises((AttributeError, TypeError)):
        error.status = 1
    attach_partial(error, {0: 1})
    note_item(error, "ours")
    assert (partial_results(error), error.__notes__, error.status) == ({0: 1}, ["ours"], 429)


def test_an_exception_of_attrs():
    attr = pytest.importorskip("attr")
    kind = attr.make_class("Refused", {"status": attr.ib()}, bases=(Exception,), frozen=True, slots=True, auto_exc=True)
    error = kind(429)
    attach_partial(error, {0: 1})
    note_item(error, "ours")
    assert (partial_results(error), error.__notes__) == ({0: 1}, ["ours"])


@pytest.mark.parametrize("base", [dict, type("Dict", (dict,), {"__setitem__": None, "get": None})])
def test_an_exception_whose_dict_was_replaced(base):
    error = ValueError("no")
    error.__dict__ = base()
    attach_partial(error, {0: 1})
    assert partial_results(error) == {0: 1}


def test_a_false_cause_is_a_cause():
    false = type("Errors", (Exception,), {"__len__": lambda self: 0})()
    attach_partial(false, {0: 1})
    above = ValueError("above")
    above.__cause__ = false
    assert partial_results(above) == {0: 1}


def test_a_chain_that_leads_back_to_itself_ends():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert partial_results(one) == {}


def test_a_class_that_lies_is_what_except_says_it_is():
    lies = Hostile(("class lies",)).made()
    assert isinstance(lies, KeyboardInterrupt)
    assert not _raw.is_a(lies, KeyboardInterrupt)
    assert _raw.is_a(lies, Exception)


def test_the_name_of_a_type_whose_metaclass_objects():
    class Meta(type):
        def __getattribute__(cls, name):
            raise SystemExit(name)

    kind = Meta("Refused", (Exception,), {})
    assert _raw.type_name(kind()) == "Refused"


def test_the_full_name_of_a_type():
    class Inner(Exception):
        pass

    assert _raw.full_type_name(ValueError()) == "ValueError"
    assert _raw.full_type_name(Inner()).endswith("test_raw.test_the_full_name_of_a_type.<locals>.Inner")
    assert _raw.full_type_name(type("Odd", (Exception,), {"__module__": 7})()) == "Odd"


@settings(deadline=None)
@given(hostiles(), st.integers(0, 3))
def test_what_an_exception_says_is_a_plain_text_of_that_length(one, most):
    text = _raw.text_of(one.among(), most)
    assert type(text) is str
    assert len(text) <= most


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_while_an_exception_says_what_it_is_passes(interrupt):
    with pytest.raises(interrupt):
        _raw.text_of(Hostile(("str",), interrupt).made(), 10)


def test_a_cancellation_out_of_a_text_does_not():
    assert _raw.text_of(Hostile(("str",), asyncio.CancelledError).made(), 10) == ""


def test_by_chance_every_quirk_comes_up():
    random = Random(1)
    seen = [hostile(random) for _ in range(200)]
    assert {quirk for one in seen for quirk in one.quirks} == set(QUIRKS)
    assert all(_raw.is_a(one.among(), Exception) for one in seen)
