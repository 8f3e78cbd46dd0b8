"""Whatever an exception's attributes raise, the engine has read it; nothing of that gets out."""

from __future__ import annotations

import threading
from itertools import product

import pytest
from hypothesis import given, settings

from fanmap import Verdict
from fanmap._drive.calls import reading
from fanmap._drive.calls.reading import read

from ..simulation.hostile import COMPLAINTS, INTERRUPTS, QUIRKS, Hostile, hostiles


class Refused(Exception):
    def __init__(self, wait):
        super().__init__("429")
        self.status_code, self.headers = 429, {"retry-after": str(wait)}


@settings(deadline=None)
@given(hostiles())
def test_an_exception_that_objects_is_read_as_one_that_says_nothing(one):
    seen = read(one.among(), None)
    assert isinstance(seen.verdict, Verdict)
    assert seen.hidden == 0


@settings(deadline=None)
@given(hostiles())
def test_a_classify_that_looks_at_it_is_read_without(one):
    seen = read(one.among(), lambda error: Verdict("rate") if "429" in str(error) + repr(error.args) else None)
    assert isinstance(seen.verdict, Verdict)


@pytest.mark.parametrize("quirk", QUIRKS)
def test_every_quirk_with_every_complaint(quirk):
    for complaint, place in product(COMPLAINTS, ("bare", "another from it")):
        one = Hostile((quirk,), complaint, place=place)
        assert isinstance(read(one.among(), None).verdict, Verdict), one


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_out_of_an_attribute_passes_in_the_main_thread_only(interrupt):
    error = Hostile(("getattribute",), interrupt).made()
    with pytest.raises(interrupt):
        read(error, None)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(read(error, None)))
    thread.start()
    thread.join()
    assert seen[0].verdict == Verdict("permanent")


def test_the_users_own_reading_comes_first():
    seen = read(Refused(3), lambda error: Verdict("spent"))
    assert seen.verdict == Verdict("spent")
    assert read(Refused(3), lambda error: None).verdict == Verdict("rate", 3.0)


def test_a_client_of_another_loop_is_told():
    error = RuntimeError("got Future attached to a different loop")
    above = ValueError("above")
    above.__cause__ = error
    assert read(above, None).other_loop
    assert not read(ValueError("no"), None).other_loop


def test_the_clock_is_asked_for_a_date(monkeypatch):
    monkeypatch.setattr(reading.clock, "wall", lambda: 0.0)
    error = Refused("Thu, 01 Jan 1970 00:00:09 GMT")
    assert read(error, None).verdict == Verdict("rate", 9.0)
