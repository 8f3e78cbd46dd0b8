"""What a refusal means to everybody: whether fewer at once are an answer to it, and what ceiling and brake are told."""

from __future__ import annotations

import dataclasses
import math

import pytest

from fanmap._policy.limits.adaptive import Adaptive, Ceiling
from fanmap._policy.limits.brake import Brake
from fanmap._policy.limits.refusal import Refusal, about_crowd, refuse


def told(ceiling, brake, kind, wait=None, *, epoch=0, crowd=6, still=3, paced=False, started=99.0, gate=-math.inf):
    refusal = Refusal(kind, wait, started, epoch, crowd, still, paced)
    return refuse(ceiling, brake, refusal, gate=gate, now=100.0, chance=0.0)


def test_it_cannot_be_changed():
    refusal = Refusal("rate", None, 1.0, 0, 1, 0, paced=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        refusal.crowd = 2
    assert not hasattr(refusal, "__dict__")


def test_the_crowd_that_was_too_many_is_cut():
    ceiling = Ceiling(Adaptive(50, 1, 50))
    told(ceiling, Brake(300), "rate", crowd=11)
    assert (ceiling.epoch, ceiling.limit) == (1, 9)


def test_a_gate_has_thinned_the_crowd_of_a_call_that_comes_soon_after_it():
    ceiling = Ceiling(Adaptive(50, 1, 50))
    told(ceiling, Brake(300), "rate", 2.0, crowd=11, gate=98.0)
    assert (ceiling.epoch, ceiling.limit) == (1, 46)


def test_that_crowd_was_as_many_as_there_are_slots_and_one():
    ceiling = Ceiling(Adaptive(50, 1, 50), [14.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    told(ceiling, Brake(300), "rate", 2.0, gate=98.0)
    assert ceiling.limit == 12  # of 14; of 14.9 it were 13


def test_no_gate_has_thinned_a_crowd_that_is_refused_for_its_size():
    ceiling = Ceiling(Adaptive(50, 1, 50))
    told(ceiling, Brake(300), "concurrency", 2.0, crowd=11, gate=98.0)
    assert ceiling.limit == 9


@pytest.mark.parametrize(("kind", "limit"), [("concurrency", 3), ("rate", 9)])
def test_how_many_are_still_under_way_counts_where_it_was_about_them(kind, limit):
    ceiling = Ceiling(Adaptive(50, 1, 50))
    for still in (10, 3):
        told(ceiling, Brake(300), kind, crowd=11, still=still)
    assert (ceiling.epoch, ceiling.limit) == (1, limit)


def test_a_window_that_is_used_up_cuts_nothing_and_closes_the_gate():
    ceiling = Ceiling(Adaptive(50, 1, 50))
    braked = told(ceiling, Brake(300), "rate", 2.0)
    assert (ceiling.epoch, braked.gate, braked.apart) == (0, 102.0, 2.0)


def test_a_refusal_by_rate_is_a_round_however_many_slots_there_are():
    ceiling, brake = Ceiling(Adaptive(8, 1, 8)), Brake(300)
    told(ceiling, brake, "rate")
    assert told(ceiling, brake, "rate", started=100.6).gate == 102.0


def test_one_at_once_that_is_too_many_is_a_round_and_more_are_none():
    for at_once, gate in ((1, 102.0), (2, None)):
        ceiling, brake = Ceiling(Adaptive(at_once, 1, 2)), Brake(300)
        told(ceiling, brake, "rate", paced=True)
        assert told(ceiling, brake, "concurrency", started=100.6).gate == gate


@pytest.mark.parametrize("kind", ["rate", "concurrency", "overloaded"])
def test_a_wait_of_zero_spreads_starts_as_none(kind):
    assert told(Ceiling(Adaptive(8, 1, 8)), Brake(300), kind, 0.0).apart == math.inf


# What fewer calls at once are an answer to


@pytest.mark.parametrize(
    ("kind", "wait", "paced", "after_gate", "fewer"),
    [
        ("concurrency", None, False, -5.0, True),
        ("concurrency", 2.0, True, -5.0, True),
        ("rate", None, False, -5.0, True),  # it does not say
        ("rate", None, True, -5.0, False),  # a rate of ours explains it
        ("rate", 2.0, False, math.inf, False),  # the first: a window was used up
        ("rate", 2.0, False, -1e-9, False),  # it was under way when the gate was closed
        ("rate", 2.0, False, 0.0, True),  # the next, so soon
        ("rate", 0.02, False, 9.99, True),
        ("rate", 2.0, False, 10.0, False),
        ("rate", 2.0, True, 0.0, False),
        ("ramp", 2.0, False, 0.0, False),
        ("overloaded", 2.0, False, 0.0, False),
    ],
)
def test_fewer_at_once_answer_a_crowd_and_a_pace_that_stays_too_fast(kind, wait, paced, after_gate, fewer):
    gate = 100.0 if math.isfinite(after_gate) else -math.inf
    started = 100.0 + after_gate if math.isfinite(after_gate) else 100.0
    assert about_crowd(kind, wait, paced=paced, started=started, gate=gate) is fewer
