"""Whatever a run did: lanes never overlap and are never more than were under way, and every second has one cause."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanmap._policy.trace.causes import Moments
from fanmap._policy.trace.columns import Bars
from fanmap._policy.trace.events import trace_json
from fanmap._policy.trace.lanes import lanes
from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.sentence import sentence
from fanmap._policy.trace.story import Refusal, Span, Story, Totals
from fanmap._trace.page import page

times = st.floats(0.0, 100.0).map(lambda one: round(one, 2))


@st.composite
def spans(draw):
    made = []
    for index in range(draw(st.integers(0, 30))):
        start, took = draw(times), draw(times)
        waits = [draw(st.sampled_from((0.0, 0.0, 0.5, 3.25))) for _ in range(4)]
        began = start + sum(waits)
        fate = draw(st.sampled_from(Fate))
        made.append(Span(start, began, began + took, index, fate, *waits))
    return sorted(made, key=lambda one: one.began)


def at_once(intervals):
    """The most of these that are under way at one moment."""
    edges = sorted(
        [(end, -1) for start, end in intervals if end > start] + [(start, 1) for start, end in intervals if end > start]
    )
    most = now = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return most


@given(st.lists(st.tuples(times, times).map(lambda one: (one[0], one[0] + one[1])), max_size=60))
def test_bars_of_one_lane_do_not_overlap_and_there_are_no_more_lanes_than_at_once(intervals):
    intervals.sort()
    places = lanes(intervals)
    for lane in set(places):
        mine = [one for one, place in zip(intervals, places, strict=True) if place == lane]
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(mine))
    assert max(places, default=-1) + 1 <= max(
        at_once(intervals), at_once([(a, max(b, a + 1e-9)) for a, b in intervals])
    )


@given(spans(), st.lists(st.tuples(times, st.integers(1, 20)), max_size=5), st.booleans())
def test_the_causes_of_all_seconds_add_up_to_the_run(made, steps, over):
    seconds = max([120.0, *(one.ended for one in made)])
    totals = Totals(len(made), len(made), len(made), len(made), 0, 0, over=over)
    moments = Moments(Story("ask", 0.0, seconds, made, (), [(0.0, 8), *sorted(steps)], 8, (), totals))
    assert math.isclose(sum(moments.seconds.values()), seconds, rel_tol=1e-9)
    called = [(one.began, one.ended) for one in made if one.fate != Fate.WAITING]
    assert moments.most == at_once(called)
    assert all(calls >= 0 and waiting >= 0 for _, calls, waiting, _ in moments.steps)


@given(spans(), st.lists(st.tuples(times, st.integers(1, 20)), max_size=5), st.booleans(), st.booleans())
def test_whatever_happened_can_be_drawn(made, steps, over, guessed):
    seconds = max([120.0, *(one.ended for one in made)])
    totals = Totals(None, len(made), len(made), len(made), 0, 0, over=over)
    refusals = [Refusal(one.began, one.item, "rate", 0.5) for one in made if one.fate == Fate.REFUSED]
    drawn = Story("ask", 0.0, seconds, made, refusals, [(0.0, 8), *sorted(steps)], 8, (), totals, guessed=guessed)
    assert "<!--" not in page(drawn)
    whole = json.loads(trace_json(drawn), parse_constant=pytest.fail)
    assert whole["otherData"]["sentence"] == sentence(drawn, Moments(drawn).seconds)
    calls = [event for event in whole["traceEvents"] if event.get("cat") == "call"]
    assert len(calls) == sum(one.fate != Fate.WAITING for one in made)


@given(spans(), st.integers(1, 10))
@pytest.mark.whole
def test_joined_bars_are_all_calls(made, most):
    bars = Bars(made, most)
    import base64
    from array import array

    calls = array("I")
    calls.frombytes(base64.b64decode(bars.columns["calls"]))
    assert (sum(calls) if bars.joined > 1 else bars.count) == len(made)
