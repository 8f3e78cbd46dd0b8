"""What a journal says was spent: it counts first, once, and garbage counts as nothing."""

from __future__ import annotations

import json
import math

import pytest

from fanmap import Rate
from fanmap._policy.journals.journal import Reading, error_line, value_line
from fanmap._policy.journals.kept import NOTHING_SPENT, Kept, Spent, of_call, spent_of_line
from fanmap._policy.limits.rate import Grant
from fanmap._policy.tokens.money import dollars_rate

DOLLARS, TOTAL, OTHER, MINUTE = dollars_rate(5.0), Rate(100, math.inf), Rate(7, math.inf), Rate(500)


def test_what_a_call_has_spent_is_kept_of_totals_alone():
    charges = [Grant(0.0, 9.0)] * 4
    spent = of_call([MINUTE, TOTAL, OTHER, DOLLARS], charges, [1.0, 3.0, 0.0, 0.25])
    assert spent == Spent(0.25, (3.0, 0.0))
    assert spent.by_place([MINUTE, TOTAL, OTHER, DOLLARS]) == [0.0, 3.0, 0.0, 0.25]
    assert not of_call([MINUTE], charges[:1], [1.0])


def test_of_which_nobody_told_what_it_took_it_has_spent_what_it_was_charged():
    charges = [Grant(0.0, 2.0), Grant(0.0, 0.5)]
    assert of_call([TOTAL, DOLLARS], charges, [None, None]) == Spent(0.5, (2.0,))


def test_of_fewer_totals_than_there_are_the_others_have_nothing():
    assert Spent(0.5, (2.0,)).by_place([TOTAL, OTHER, DOLLARS]) == [2.0, 0.0, 0.5]
    assert Spent(0.5, (2.0, 3.0)).by_place([TOTAL]) == [2.0]


def test_they_add_up_and_never_fall_below_nothing():
    assert Spent(1.0, (1.0,)) + Spent(2.0, (3.0, 4.0)) == Spent(3.0, (4.0, 4.0))
    assert Spent(2.0, (3.0, 4.0)) - Spent(1.0, (1.0,)) == Spent(1.0, (2.0, 4.0))
    assert Spent(1.0, (1.0,)) - Spent(2.0, (3.0, 4.0)) == Spent(0.0, (0.0,))


def test_a_line_says_what_its_item_has_spent_before_its_value():
    line = value_line("ab", 3, 0.0, 1.25, '"four"', spent=Spent(0.00125))
    assert line.startswith(b'{"v":1,"key":"ab","index":3,"began":0.000,"seconds":1.250,"cost":0.00125,"value":"four"')
    line = error_line("ab", 3, 0.0, 1.25, ValueError("no"), spent=Spent(0.0, (3.0, 0.5)))
    assert json.loads(line)["units"] == [3.0, 0.5]
    assert "cost" not in json.loads(line)
    assert b"cost" not in value_line("ab", 3, 0.0, 1.25, "1")


def test_the_lines_of_a_journal_add_up_also_of_failures_and_of_what_was_asked_for_again():
    reading = Reading()
    reading.add(value_line("ab", 0, 0.0, 1.0, "1", spent=Spent(0.25)))
    reading.add(value_line("ab", 0, 0.0, 1.0, "1", spent=Spent(0.25, (2.0,))))
    reading.add(error_line("cd", 1, 0.0, 1.0, ValueError(), spent=Spent(0.125)))
    reading.add(value_line("ef", 2, 0.0, 1.0, "1"))
    reading.add(value_line("gh", 2, 0.0, 1.0, "1", spent=Spent(100.0))[5:])  # nobody believes it
    assert reading.spent == Spent(0.625, (2.0,))


@pytest.mark.parametrize("garbage", [None, True, "3", -1.0, math.nan, math.inf, 10**400, [1.0], {}])
def test_what_is_no_amount_is_nothing(garbage):
    assert spent_of_line({"cost": garbage, "units": [garbage, 2.0]}) == Spent(0.0, (0.0, 2.0))
    assert spent_of_line({"units": {} if isinstance(garbage, list) else garbage}) == NOTHING_SPENT


def test_what_this_process_wrote_itself_is_not_counted_again():
    kept = Kept()
    assert kept.news("/a", Spent(1.0)) == Spent(1.0)
    kept.wrote("/a", Spent(0.5))
    kept.wrote("/a", Spent(0.25))
    kept.wrote("/b", Spent(9.0))  # not opened by this one
    assert kept.news("/a", Spent(2.0)) == Spent(0.25)  # somebody else's
    assert kept.news("/a", Spent(2.0)) == Spent(0.0)
    assert kept.news("/a", Spent(0.5)) == Spent(0.0)  # the file is shorter; what is spent is spent
    assert kept.news("/b", Spent(9.0)) == Spent(9.0)
