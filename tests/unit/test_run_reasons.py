"""What a run's last words say: by what it was stopped, and what to do before the same command goes on."""

from __future__ import annotations

import errno
import types

import pytest

from fanmap import BudgetExceeded, DeadlineExceeded, JournalError, NotRun, SharedUnavailable
from fanmap._run.reasons import (
    DEADLINE,
    before_writing_again,
    is_cut,
    journal_text,
    reason_of_cut,
    reason_of_failure,
)
from fanmap._run.remote import exception_of, failure_of
from fanmap._run.report import Report
from fanmap._run.rows_in import Row


class Server(Exception):
    def __init__(self, status, headers=(), code=None):
        super().__init__("sk-secret")
        self.status_code = status
        self.response = types.SimpleNamespace(status_code=status, headers=dict(headers))
        self.body = {"code": code}


def not_run(cause):
    error = NotRun("the run was stopped")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "text", "first"),
    [
        (Server(401), "Server: the server does not accept the key, or forbids the call", "with a key that works, "),
        (Server(403), "Server: the server does not accept the key, or forbids the call", "with a key that works, "),
        (Server(402), "Server: the account has no credit or quota left", "once it has some, "),
        (
            Server(429, {"retry-after": "900"}),
            "--max-wait: the server asks to wait for 900 s",
            "after that, or with --max-wait 901, ",
        ),
        (
            Server(429),
            "--max-wait: the server refused calls for longer than that",
            "later, or with a larger --max-wait, ",
        ),
        (Server(500), "--max-wait: no call succeeded for that long (Server)", "later, or with a larger --max-wait, "),
        (
            ConnectionError("sk-secret"),
            "--max-wait: no call succeeded for that long (ConnectionError)",
            "later, or with a larger --max-wait, ",
        ),
        (
            not_run(TimeoutError("the server asked to wait 900 s more")),
            "--max-wait: the server refused calls for longer than that",
            "later, or with a larger --max-wait, ",
        ),
        (DeadlineExceeded("late"), DEADLINE.text, ""),
        (
            not_run(BudgetExceeded(5, 4.99, dollars=True)),
            "--max-spend 5: $4.9900 spent, and one more call would exceed it",
            "with a larger --max-spend, ",
        ),
        (
            not_run(BudgetExceeded(10, 10, dollars=False)),
            "Rate(10, per=math.inf): 10 used, and one more call would exceed it",
            "with a larger amount, ",
        ),
        (not_run(ValueError("price raised KeyError")), "--max-spend: price raised KeyError", "after fixing that, "),
        (
            not_run(ValueError("max_spend cannot be enforced: none of the first 20 calls reported its token usage")),
            "--max-spend: none of the first 20 calls reported its token usage",
            "after fixing that, ",
        ),
        (
            JournalError(errno.ENOSPC, "resume='j' cannot be written: No space left on device"),
            "the journal: j cannot be written: No space left on device",
            "once there is room, ",
        ),
        (
            SharedUnavailable("shared='x' was never reached, tried for 5.0 s: Connection refused"),
            "SharedUnavailable: shared='x' was never reached, tried for 5.0 s: Connection refused",
            "once it can be reached, ",
        ),
        (
            not_run(FileNotFoundError("the folder of shared='x/y' does not exist")),
            "the shared limits: the folder of shared='x/y' does not exist",
            "after fixing that, ",
        ),
        (
            not_run(ValueError("every Limits of shared='x' must have the same rates in the same order: ...")),
            "the shared limits: every Limits of shared='x' must have the same rates in the same order: ...",
            "after fixing that, ",
        ),
        (KeyError("sk-secret"), "KeyError", ""),
    ],
)
def test_the_reason_behind_a_row_that_was_not_run(cause, text, first):
    reason = reason_of_cut(not_run(cause))
    assert (reason.text, reason.first) == (text, first)


def test_a_run_that_was_told_to_stop_has_none():
    assert reason_of_cut(NotRun("by stop()")) is None


def test_that_what_processes_share_is_away_is_said_as_a_worker_process_tells_of_it():
    away = SharedUnavailable("shared='x' was never reached, tried for 5.0 s: No space left on device")
    told = exception_of(failure_of(away, None))
    assert reason_of_failure(told) == reason_of_failure(away)
    other = type("SharedUnavailable", (ConnectionError,), {})("sk-secret")
    assert "sk-secret" not in reason_of_failure(other).text


def test_a_failure_that_stops_nothing_is_none():
    assert reason_of_failure(Server(400)) is None
    assert reason_of_failure(ValueError("a prompt")) is None


@pytest.mark.parametrize("kind", [NotRun, DeadlineExceeded])
def test_what_was_raised_by_a_run_within_is_no_cut_of_ours(kind):
    assert is_cut(kind("ours"))
    with pytest.raises(kind) as caught:
        raise kind("of another run")
    assert not is_cut(caught.value)
    assert not is_cut(ValueError())


def test_what_the_library_says_of_a_journal_is_said_in_the_commands_words():
    foreign = "is not a fanmap journal: give resume= a path of its own"
    plain = "is not a fanmap journal: give --resume a path of its own"
    for path in ("j", "it's", 'a "path"'):
        assert journal_text(JournalError(f"resume={path!r} {foreign}")) == f"{path} {plain}"
    assert before_writing_again(errno.EACCES) == "once it can be written, "


@pytest.mark.parametrize("order", [0, 1])
def test_for_how_long_to_wait_is_known_from_the_refusal_in_whatever_order_the_rows_come(order):
    refused, left = Server(429, {"retry-after": "900"}), not_run(not_run(TimeoutError("900 s more")))
    report = Report()
    for error in [refused, left][:: 1 - 2 * order]:
        report.hear(Row(1, {}), error)
    assert report.reason.text == "--max-wait: the server asks to wait for 900 s"


def test_a_row_that_was_not_run_knows_better_than_one_that_failed():
    report = Report()
    report.hear(Row(1, {}), Server(500))
    report.hear(Row(2, {}), not_run(Server(402)))
    report.hear(Row(3, {}), Server(500))
    assert report.reason.option == "Server"
    assert (report.outcomes, report.failed, report.cut, report.answered) == (3, 2, 1, 0)
