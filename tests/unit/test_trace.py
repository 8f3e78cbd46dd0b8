"""What a traced run's notes are made into: calls with their waits, lanes, causes, a sentence, columns, trace events."""

from __future__ import annotations

import base64
import json
from array import array
from dataclasses import replace

import pytest

from fanmap._policy.trace.causes import Moments
from fanmap._policy.trace.columns import Bars
from fanmap._policy.trace.events import trace_json
from fanmap._policy.trace.lanes import lanes
from fanmap._policy.trace.log import Fate, TraceLog, pack_call
from fanmap._policy.trace.sentence import duration, sentence
from fanmap._policy.trace.story import (
    Refusal,
    Span,
    Story,
    Totals,
    ceiling_of,
    outages_of,
    refusals_of,
    spans_of,
)


def call(index, began, ended, fate=Fate.RETURNED, *, slot=0.0, gate=0.0, rate=0.0, repeat=0.0):
    return Span(began - slot - gate - rate - repeat, began, ended, index, fate, slot, gate, rate, repeat)


def story(*spans, seconds, most=2, total=None, over=True, refusals=(), outages=(), ceiling=None, **more):
    spans = sorted(spans, key=lambda one: one.began)
    totals = Totals(total if total is not None else len(spans), len(spans), len(spans), len(spans), 0, 0, over=over)
    return Story("ask", 0.0, seconds, spans, refusals, ceiling or [(0.0, most)], most, outages, totals, **more)


def held_up(one):
    return {cause: seconds for cause, seconds in Moments(one).seconds.items() if seconds}


# Notes to spans


def test_a_call_has_the_waits_that_were_noted_of_it():
    log = TraceLog()
    log.calls += pack_call(7, 104.0, 105.0)
    log.waited(7, 104.0, 1.0, 0.5, 2.0)
    assert spans_of(log, 100.0) == [Span(0.5, 4.0, 5.0, 7, Fate.RETURNED, 1.0, 0.5, 2.0, 0.0)]
    assert spans_of(log, 100.0, paced=False) == [Span(0.5, 4.0, 5.0, 7, Fate.RETURNED, 1.0, 2.5, 0.0, 0.0)]


def test_a_call_that_is_told_of_twice_is_one_call_and_what_was_told_first_counts():
    log = TraceLog()
    log.ended(3, 10.0, 11.0, Fate.REFUSED)
    log.ended(3, 10.0, 11.0, Fate.REPEATED)
    log.ended(3, 10.0, 11.0, Fate.FAILED)
    assert [(one.item, one.fate) for one in spans_of(log, 10.0)] == [(3, Fate.REFUSED)]


def test_a_back_off_belongs_to_the_attempt_after_it_and_its_time_at_the_gate_to_the_gate():
    log = TraceLog()
    log.ended(0, 0.0, 1.0, Fate.REFUSED)
    log.backs_off(0, 1.0, 3.0, 3.5)
    log.waited(0, 4.0, 0.0, 0.0, 0.5)
    log.calls += pack_call(0, 4.0, 5.0)
    log.calls += pack_call(1, 2.0, 9.0)
    refused, other, again = spans_of(log, 0.0)
    assert (refused.fate, other.item) == (Fate.REFUSED, 1)
    assert again == Span(1.0, 4.0, 5.0, 0, Fate.RETURNED, 0.0, 2.0, 0.5, 0.5)


def test_a_call_that_has_not_ended_is_one_too():
    log = TraceLog()
    log.waited(2, 12.0, 1.0, 0.0, 0.0)
    still = Span(2.0, 2.0, 5.0, 2, Fate.UNDER_WAY, 0.0, 0.0, 0.0, 0.0)
    assert spans_of(log, 10.0, [still]) == [Span(1.0, 2.0, 5.0, 2, Fate.UNDER_WAY, 1.0, 0.0, 0.0, 0.0)]


def test_a_row_costs_at_most_60_bytes():
    log = TraceLog()
    for index in range(100):
        log.calls += pack_call(index, 1.0, 2.0)
        log.waited(index, 1.0, 1.0, 0.0, 0.0)
    assert (len(log.calls) + len(log.waits)) / 100 <= 60


def test_an_outage_ends_with_the_answer_of_a_call_that_began_in_it():
    log = TraceLog()
    log.held(5.0, 6.0, outage=True)
    log.held(7.0, 8.0, outage=True)
    log.held(1.0, 2.0, outage=False)
    spans = [call(0, 4.0, 5.5), call(1, 6.0, 6.5, Fate.REPEATED), call(2, 8.0, 9.0)]
    assert outages_of(log, 0.0, spans, 20.0) == [(5.0, 9.0)]
    assert outages_of(log, 0.0, spans[:2], 20.0) == [(5.0, 20.0)]


def test_refusals_are_in_their_order():
    log = TraceLog()
    log.refused(4, 12.0, "concurrency", None)
    log.refused(3, 11.0, "rate", 5.0)
    assert refusals_of(log, 10.0) == [Refusal(1.0, 3, "rate", 5.0), Refusal(2.0, 4, "concurrency", 0.0)]


def test_the_ceiling_is_what_the_run_might_have_of_that_of_its_limits():
    changes = [(5.0, 32, 16), (11.0, 16, 6), (12.0, 6, 9)]
    assert ceiling_of(changes, 9, 8, began=10.0) == [(0.0, 8), (1.0, 6), (2.0, 8)]
    assert ceiling_of([], 4, 8, began=10.0) == [(0.0, 4)]


# Lanes


def test_a_lane_is_taken_again_as_soon_as_it_is_free():
    assert lanes([(0.0, 2.0), (0.0, 1.0), (1.0, 3.0), (1.5, 2.0), (2.0, 3.0)]) == [0, 1, 1, 2, 0]
    assert lanes([]) == []


def test_edges_that_overlap_by_a_rounding_share_a_lane_where_that_is_asked_for():
    assert lanes([(0.0, 1.0 + 1e-12), (1.0, 2.0)]) == [0, 1]
    assert lanes([(0.0, 1.0 + 1e-12), (1.0, 2.0)], slack=1e-6) == [0, 0]


# Causes


def test_each_second_has_one_cause_and_they_add_up():
    one = story(
        call(0, 0.0, 4.0), call(1, 0.0, 2.0), call(2, 2.0, 3.0), call(3, 5.0, 6.0, rate=2.0), call(4, 9.0, 10.0, gate=2.0),
        seconds=12.0,
    )  # fmt: skip
    # 0 to 3 both slots; 3 to 5 a call waits for the rate; 5 to 7 one call or none, and more to come; 7 to 9 the gate;
    # 9 to 10 the last call; after it nobody but the reader
    assert held_up(one) == {"slots": 3.0, "rate": 2.0, "input": 2.0, "gate": 2.0, "tail": 1.0, "reader": 2.0}


def test_what_is_under_way_in_an_outage_is_the_outages():
    one = story(
        call(0, 0.0, 1.0, Fate.REPEATED), call(0, 4.0, 5.0, gate=3.0), seconds=6.0, most=1, outages=[(1.0, 5.0)]
    )
    assert held_up(one) == {"slots": 1.0, "outage": 4.0, "reader": 1.0}


def test_a_lower_ceiling_makes_the_slots_the_cause():
    one = story(
        call(0, 0.0, 2.0), call(1, 2.0, 4.0), call(2, 4.0, 4.5), seconds=4.5, most=8, ceiling=[(0.0, 8), (1.0, 1)]
    )
    assert held_up(one) == {"input": 1.0, "slots": 3.0, "tail": 0.5}
    assert "Up to 8 were allowed, and refusals had lowered that to 1" in sentence(one, Moments(one).seconds)


def test_a_ceiling_that_only_grew_was_lowered_by_nobody():
    calls = [call(index, index * 1.0, index + 1.0) for index in range(4)]
    slowly = story(*calls, seconds=4.0, most=8, ceiling=[(0.0, 1), (3.0, 2)])
    assert "Up to 8 are allowed, 1 of them at first" in sentence(slowly, {**Moments(slowly).seconds, "slots": 4.0})
    soon = story(*calls, seconds=4.0, most=8, ceiling=[(0.0, 1), (0.5, 8)])
    assert "A larger max_concurrency (it was 8)" in sentence(soon, {**Moments(soon).seconds, "slots": 4.0})


def test_waiting_for_an_own_attempt_at_the_end_is_a_repeat():
    one = story(call(0, 0.0, 1.0, Fate.REPEATED), call(0, 9.0, 10.0, repeat=8.0), seconds=10.0, most=4)
    assert held_up(one) == {"input": 1.0, "repeat": 8.0, "tail": 1.0}
    assert sentence(one, Moments(one).seconds).startswith("Retries held the run up: for 8.0 s (80 % of the run)")


def test_the_steps_tell_who_was_under_way_and_who_waited():
    moments = Moments(story(call(0, 0.0, 2.0), call(1, 2.0, 3.0, slot=1.0), seconds=3.0, most=1))
    assert moments.steps == [(0.0, 1, 0, 1), (1.0, 1, 1, 1), (2.0, 1, 0, 1), (3.0, 0, 0, 1)]
    assert moments.most == 1


# The sentence


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (story(call(0, 0.0, 9.0), call(1, 9.0, 10.0), seconds=10.0, most=1), "Too few slots: for 9.0 s (90 % of the run)"),
        (story(call(0, 9.0, 10.0, rate=9.0), seconds=10.0), "The rate held the run up: for 9.0 s"),
        (
            story(call(0, 9.0, 10.0, gate=9.0), seconds=10.0, refusals=[Refusal(0.0, 0, "rate", 9.0)]),
            "The server asked to wait: for 9.0 s (90 % of the run) calls were held at the gate, after 1 refusal.",
        ),
        (
            story(call(0, 0.0, 1.0), call(1, 0.5, 10.0), seconds=10.0),
            "One slow item at the end: item 1 took 9.5 s, 9.0 s of that after all others had ended,",
        ),
        (story(call(0, 0.0, 9.0), call(1, 0.0, 10.0), seconds=10.0), "The calls themselves: everything had started"),
        (story(call(0, 0.0, 1.0), call(1, 9.0, 10.0), seconds=10.0), "The input or the reader of the results held the run up: for 9.0 s"),
        (story(call(0, 0.0, 1.0), call(1, 0.0, 1.0), seconds=10.0), "The reader of the results held the run up: for 9.0 s"),
        (story(call(7, 0.0, 9.0), seconds=9.0), "The call itself: there was one item, and its last call took 9.0 s."),
        (story(call(0, 0.0, 1.0, Fate.WAITING), seconds=9.0, most=4), "The reader of"),
        (story(seconds=1.0), "No call was made."),
        (story(call(0, 0.0, 1.0), seconds=1.0, recorded=False), "This run was started without trace="),
        (story(call(0, 0.0, 9.0), call(1, 8.0, 9.0), seconds=9.0, most=1, over=False), "So far: Too few slots"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_held_the_run_up_most(one, said):
    assert sentence(one, Moments(one).seconds).startswith(said)


def test_slow_items_first_is_no_advice_where_the_slow_item_was_first():
    first, later = (story(call(0, 0.0, 0.5), call(1, began, 10.0), seconds=10.0) for began in (0.0, 0.6))
    assert sentence(first, Moments(first).seconds).endswith(" timeout= bounds a call.")
    assert sentence(later, Moments(later).seconds).endswith("a run that starts its slow items first is shorter.")


def test_the_sentence_says_where_every_item_failed():
    spans = [call(index, index * 1.0, index + 1.0, Fate.FAILED) for index in range(4)]
    one = story(*spans, seconds=4.0, most=1)
    one = replace(one, totals=replace(one.totals, kinds={"ValueError": 3, "KeyError": 1}))
    assert sentence(one, Moments(one).seconds).endswith(" And every item failed: 4 of 4.")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0.00 s"),
        (0.0005, "0.5 ms"), (0.999, "1.00 s"), (1.0, "1.0 s"), (99.9, "99.9 s"), (99.96, "1 min 40 s"), (3599.9, "1 h 0 min"), (7500.0, "2 h 5 min")],
)  # fmt: skip
def test_a_duration_is_one_that_people_read(seconds, said):
    assert duration(seconds) == said


# Columns


def read(kind, text):
    column = array(kind)
    column.frombytes(base64.b64decode(text))
    return list(column)


def test_bars_are_columns_and_only_calls_that_waited_have_waits():
    bars = Bars([call(0, 0.0, 1.0), call(1, 2.0, 3.0, rate=1.5)])
    assert (bars.count, bars.lanes, bars.joined) == (2, 2, 1)
    assert read("d", bars.columns["began"]) == [0.0, 2.0]
    assert read("H", bars.columns["lane"]) == [0, 1]
    which, seconds = bars.columns["waits"]["rate"]
    assert (read("I", which), read("f", seconds)) == ([1], [1.5])
    assert bars.columns["waits"]["slot"] == ["", ""]


@pytest.mark.parametrize("scale", [1.0, 60.0, 3600.0])
def test_one_that_waited_follows_the_one_before_in_its_lane_though_waits_are_rounded(scale):
    for tenth in range(1, 100):
        log, ended, slot, gate = TraceLog(), 1.1, scale * tenth / 7, scale * tenth / 30
        log.ended(0, 0.0, ended, Fate.REPEATED)
        began = ended + slot + gate
        log.waited(1, began, slot, gate, 0.0)
        log.ended(1, began, began + 1.0, Fate.REPEATED)
        assert Bars(spans_of(log, 0.0)).lanes == 1


def test_too_many_bars_are_joined_in_their_lane_and_failures_stay():
    spans = [
        call(index, float(index), index + 1.0, Fate.FAILED if index == 10 else Fate.RETURNED) for index in range(30)
    ]
    bars = Bars(spans, most=10)
    assert bars.joined == 3
    assert bars.lanes == 1
    assert sum(read("I", bars.columns["calls"])) == 30
    assert read("B", bars.columns["fate"]).count(Fate.FAILED) == 1
    assert max(read("I", bars.columns["calls"])) == 3
    assert len(read("d", bars.columns["began"])) == bars.count <= 12


def test_a_call_of_a_millisecond_is_one_in_the_tenth_hour_too():
    bars = Bars([call(0, 0.0, 36_000.0), call(1, 35_999.0, 35_999.001), call(2, 35_999.001, 35_999.002)])
    assert [round(took, 4) for took in read("f", bars.columns["took"])] == [36_000.0, 0.001, 0.001]
    assert read("d", bars.columns["began"]) == [0.0, 35_999.0, 35_999.001]


def test_where_most_calls_waited_their_waits_are_a_column_of_all():
    bars = Bars([call(0, 2.0, 3.0, rate=1.5), call(1, 3.0, 4.0), call(2, 4.0, 5.0, rate=0.5)])
    which, seconds = bars.columns["waits"]["rate"]
    assert (which, read("f", seconds)) == ("", [1.5, 0.0, 0.5])


def test_very_many_failures_are_joined_too_in_the_colour_of_most():
    spans = [call(index, float(index), index + 1.0, Fate.FAILED if index % 3 else Fate.RETURNED) for index in range(30)]
    bars = Bars(spans, most=10)
    assert bars.mixed
    assert bars.count == 10
    assert sum(read("I", bars.columns["calls"])) == 30
    assert read("B", bars.columns["fate"]) == [Fate.FAILED] * 10


def test_more_lanes_than_two_bytes_count_have_four():
    bars = Bars([call(index, 0.0, 1.0) for index in range(65_537)])
    assert read("I", bars.columns["lane"])[-1] == 65_536


# Trace events


def check_trace_events(text):
    """The rules of the format: https://chromium.googlesource.com/catapult, "Trace Event Format"."""
    whole = json.loads(text)
    assert whole["displayTimeUnit"] in ("ms", "ns")
    events = whole["traceEvents"]
    open_until: dict[tuple[int, int], int] = {}
    for event in sorted(events, key=lambda one: one.get("ts", 0)):
        assert event["ph"] in ("X", "i", "C", "M")
        assert isinstance(event["pid"], int)
        assert isinstance(event["name"], str) and event["name"]
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and isinstance(event["args"]["name"], str)
            continue
        assert isinstance(event["ts"], int) and event["ts"] >= 0
        if event["ph"] == "X":
            assert isinstance(event["dur"], int) and event["dur"] >= 0
            track = event["pid"], event["tid"]
            assert track[0] >= 1 and track[1] >= 1  # Perfetto takes 0 for idle threads, and drops what overlaps there
            assert open_until.get(track, 0) <= event["ts"]  # on one track, slices must nest or follow each other
            open_until[track] = event["ts"] + event["dur"]
        elif event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
        else:
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
    return events


def test_trace_events_keep_the_rules_of_the_format():
    one = story(
        call(0, 0.0, 1.0, Fate.REFUSED), call(1, 0.0, 2.0), call(0, 3.0, 4.0, gate=1.0, repeat=0.5), call(2, 2.5, 4.0, slot=1.0),
        seconds=4.0, refusals=[Refusal(1.0, 0, "rate", 1.0)],
    )  # fmt: skip
    events = check_trace_events(trace_json(one))
    calls = [event for event in events if event.get("cat") == "call"]
    assert [(event["name"], event["tid"], event["ts"], event["dur"]) for event in calls] == [
        ("item 0", 1, 0, 1_000_000), ("item 1", 2, 0, 2_000_000), ("item 2", 1, 2_500_000, 1_500_000), ("item 0", 2, 3_000_000, 1_000_000),
    ]  # fmt: skip
    waits = [(event["name"], event["ts"], event["dur"]) for event in events if event.get("cat") == "wait"]
    assert waits == [("back-off", 1_500_000, 500_000), ("slot", 1_500_000, 1_000_000), ("gate", 2_000_000, 1_000_000)]
    assert [(event["name"], event["ts"]) for event in events if event.get("cat") == "refusal"] == [("rate", 1_000_000)]
    assert {event["name"] for event in events if event["ph"] == "C"} == {"calls under way", "waiting", "ceiling"}


@pytest.mark.whole
def test_the_counters_of_very_many_calls_are_thinned():
    spans = [call(index, index * 0.25, index * 0.25 + 0.125) for index in range(40_000)]
    events = check_trace_events(trace_json(story(*spans, seconds=10_000.0)))
    assert len([event for event in events if event["ph"] == "C"]) <= 3 * 20_001
    assert len([event for event in events if event.get("cat") == "call"]) == 40_000
