"""What a run came to: which rows failed, which were not run and why, and the exit status."""

from __future__ import annotations

import re
from dataclasses import replace

from fanmap import DeadlineExceeded, JournalError, NotRun, Summary
from fanmap._run.rows_in import Row

_LISTED = 20  # failures that are listed one by one


class Report:
    """Hears of every outcome, in input order; keeps counts and the first failures.

    Args:
        deadline: seconds that the run may take; None: no bound.

    Attributes:
        heard: outcomes.
        failed: rows whose call raised.
        cut: rows whose call was not made, or not to its end, because the run was stopped.
    """

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self.heard = self.failed = self.cut = 0
        self._first: list[str] = []
        self._cause: BaseException | None = None
        self._late = False

    def hear(self, row: Row, error: BaseException | None) -> bool:
        """The next outcome; has the row come to an end of its own?"""
        index = self.heard
        self.heard += 1
        late = self._deadline is not None and isinstance(error, DeadlineExceeded)
        if error is not None and (late or isinstance(error, NotRun)):
            self.cut += 1
            self._late = self._late or late or isinstance(error.__cause__, DeadlineExceeded)
            self._cause = self._cause or error.__cause__
            return False
        if error is not None:
            self.failed += 1
            if len(self._first) < _LISTED:
                self._first.append(f"  item {index} (line {row.line}): {type(error).__name__}")
        return True

    def failures(self) -> list[str]:
        """The failed rows by index and kind, never with what they say: that may be a prompt."""
        if not self.failed:
            return []
        more = self.failed - len(self._first)
        return [f"fanmap: {self.failed} failed", *self._first, *([f"  and {more} more"] if more else [])]

    def why_cut(self, interrupted: bool) -> str:
        """Why the run did not come to the end of its input."""
        cause = self._cause
        if interrupted:
            return "stopped"
        if self._late or (cause is None and self._deadline is not None):
            return f"stopped by the deadline of {self._deadline:g} s"
        if isinstance(cause, JournalError) or (isinstance(cause, TypeError) and str(cause).startswith("resume=")):
            return plainly(cause)
        return "stopped" if cause is None else f"stopped by {type(cause).__name__}"


def plainly(error: Exception) -> str:
    """What the library says of a journal, in the words of the command line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        re.sub("^resume='(.*?)' ", r"\1 ", text)
        .replace("resume= cannot", "a journal cannot")
        .replace("give resume= a path", "give --resume a path")
        .replace(", or give encode= and decode=", ", or say --no-resume")
        .replace("give encode= and decode=", "say --no-resume")
        .replace("change version=", "give another --function-version")
    )


def whole(summary: Summary, total: int | None, heard: int) -> Summary:
    """The summary with the rows that were never even taken from the input, where their number is known."""
    rest = 0 if total is None else total - heard
    if rest <= 0:
        return summary
    failed = dict(summary.failed)
    failed["NotRun"] = failed.get("NotRun", 0) + rest
    return replace(summary, done=summary.done + rest, failed=failed)
