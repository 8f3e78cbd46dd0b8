"""The line that `fanmap run` shows while it goes: what is in it, and how often."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from fanmap._run.watching import Watch, fitted, line
from fanmap._types import NOT_BEGUN
from fanmap.types import Usage


@pytest.mark.parametrize(
    ("values", "total", "said"),
    [
        ({}, None, "0 done"),
        ({}, 9, "0/9 done"),
        ({"done": 4, "seconds": 2.0}, None, "4 done, 2.0/s"),
        ({"done": 4, "seconds": 2.0}, 9, "4/9 done, 2.0/s, 0:03 left"),
        ({"done": 9, "seconds": 2.0}, 9, "9/9 done, 4.5/s"),
        ({"done": 4, "seconds": 2.0, "failed": 1, "refused": 2, "resumed": 3}, 9,
         "4/9 done, 1 failed, 2 refused, 3 resumed, 30.0/min, 0:10 left"),
        ({"done": 4, "seconds": 2.0, "resumed": 4}, 9, "4/9 done, 4 resumed"),
        ({"done": 1, "seconds": 4.0}, 1000, "1/1000 done, 15.0/min, 1:06:36 left"),
        ({"waiting_for": "rate"}, None, "0 done, waiting for the rate"),
        ({"tokens": Usage(12_000, 0, 345)}, None, "0 done, 12.3k tokens"),
        ({"tokens": Usage(12_000, 0, 345), "spent": 1.25, "waiting_for": "rate"}, None,
         "0 done, $1.2500, waiting for the rate"),
        ({"waiting_for": "gate"}, None, "0 done, the server asked to wait"),
    ],
)  # fmt: skip
def test_the_line_says_what_there_is_to_say(values, total, said):
    assert line(replace(NOT_BEGUN, **values), total) == said


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (200, "400/1000 done, 3 failed, 26 refused, 4.0/s, 2:30 left, waiting to try again"),
        (79, "400/1000 done, 3 failed, 26 refused, 4.0/s, 2:30 left, waiting to try again"),
        (60, "400/1000 done, 3 failed, 26 refused, 4.0/s, waits to retry"),
        (49, "400/1000 done, 3 failed, waits to retry"),
        (29, "400/1000 done, waits to retry"),
        (20, "400/1000 done, waits"),
    ],
)
def test_where_it_does_not_fit_the_reason_is_the_last_thing_to_go(columns, said):
    stats = replace(NOT_BEGUN, done=400, failed=3, refused=26, seconds=100.0, waiting_for="repeat")
    assert fitted(stats, 1000, columns) == said


class Terminal(io.StringIO):
    def isatty(self):
        return True


def watch(monkeypatch, file, *, quiet=False):
    monkeypatch.setattr("sys.stderr", file)
    return Watch(100, quiet=quiet)


def test_on_a_terminal_one_line_is_rewritten_and_cleared_for_what_is_said(monkeypatch):
    file = Terminal()
    one = watch(monkeypatch, file)
    one.look(replace(NOT_BEGUN, seconds=0.1))
    one.look(replace(NOT_BEGUN, seconds=0.2, done=1))
    one.say("something")
    one.clear()
    assert re.sub(r"\x1b\[K", "", file.getvalue()) == "\r0/100 done\r1/100 done, 5.0/s, 0:20 left\rsomething\n"


def test_elsewhere_there_is_a_line_every_ten_seconds(monkeypatch):
    file = io.StringIO()
    one = watch(monkeypatch, file)
    for tenths in range(360):
        one.look(replace(NOT_BEGUN, seconds=tenths / 10))
    one.look(replace(NOT_BEGUN, seconds=79.0))
    one.look(replace(NOT_BEGUN, seconds=80.0))
    one.clear()
    assert file.getvalue() == "fanmap: 0/100 done\n" * 5


def test_quiet_shows_no_line(monkeypatch):
    file = Terminal()
    one = watch(monkeypatch, file, quiet=True)
    one.look(replace(NOT_BEGUN, seconds=11.0))
    one.say("something went wrong")
    assert file.getvalue() == "something went wrong\n"
