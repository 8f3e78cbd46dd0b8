"""What a run came to: which rows failed, which were not run, and what the summary counts.

Hears of outcomes and says text; what a failure says is never part of it, since that may be a prompt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fanmap._raw import is_a, type_name
from fanmap._run.answers import AnswerNotJson
from fanmap._run.reasons import KEPT_WAITING, Reason, is_cut, reason_of_cut, reason_of_failure
from fanmap._run.rows_in import Row
from fanmap.types import Summary

_LISTED: Final = 20  # failures that are listed one by one


class Report:
    """Hears of every outcome, in input order; keeps counts and the first failures.

    Attributes:
        outcomes: how many there were.
        failed: rows whose call raised, or whose answer has no JSON form.
        not_json: how many of them are the latter.
        cut: rows whose call was not made, or not to its end, because the run was stopped.
    """

    def __init__(self) -> None:
        self.outcomes = self.failed = self.not_json = self.cut = 0
        self._cut_by: Reason | None = None
        self._failed_by: Reason | None = None
        self._first: list[str] = []

    @property
    def answered(self) -> int:
        """Rows that have an answer, resumed ones included."""
        return self.outcomes - self.failed - self.cut

    @property
    def blamed(self) -> bool:
        """Is there a row that was not run and tells why?"""
        return self._cut_by is not None

    @property
    def reason(self) -> Reason | None:
        """Why the run stopped, as far as its rows tell."""
        failed, cut = self._failed_by, self._cut_by
        if cut is KEPT_WAITING and failed is not None and failed.option == KEPT_WAITING.option:
            return failed  # a row that was not run does not know for how long the server asks to wait
        return cut or failed  # of a pipe, perhaps no row was taken after the one that stopped the run

    def hear(self, row: Row, error: BaseException | None) -> bool:
        """The next outcome; has the row come to an end of its own?"""
        index = self.outcomes
        self.outcomes += 1
        if error is None:
            return True
        if is_cut(error):
            if not self.cut:
                self._cut_by = reason_of_cut(error)
            self.cut += 1
            return False
        self.failed += 1
        self.not_json += is_a(error, AnswerNotJson)
        if len(self._first) < _LISTED:
            self._first.append(f"  item {index} (line {row.line}): {type_name(error)}")
        self._failed_by = reason_of_failure(error) or self._failed_by
        return True

    def failures(self) -> list[str]:
        """The failed rows by index and kind."""
        if not self.failed:
            return []
        more = self.failed - len(self._first)
        return [f"fanmap: {self.failed} failed", *self._first, *([f"  and {more} more"] if more else [])]


def with_unread_rows(summary: Summary, report: Report, total: int | None) -> Summary:
    """The summary as the rows have it: answers without JSON failed, and rows that were never taken were not run.

    Args:
        total: rows of the input, where their number is known.
    """
    failed = dict(summary.failed)
    if report.not_json:
        failed[AnswerNotJson.__name__] = report.not_json
    # A run that an item has ended has outcomes that nobody heard of.
    unread = 0 if total is None else max(0, total - max(report.outcomes, summary.done))
    if unread:
        failed["NotRun"] = failed.get("NotRun", 0) + unread
    return replace(summary, done=summary.done + unread, failed=failed)
