"""What is said when a run is over: what failed, what stopped it, what is kept, and what to write next.

Pure. Nobody is told to rerun a command that would pay again and stop again at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

from fanmap._failure import CommandError
from fanmap._run.reasons import DEADLINE, TOO_MANY, Reason, before_writing_again
from fanmap._run.report import Report, with_unread_rows
from fanmap._run.run_args import RunArgs
from fanmap._types import Summary


@dataclass(frozen=True, slots=True)
class Over:
    """A run that is over.

    Attributes:
        args: of the command.
        report: what became of its rows.
        summary: of its calls.
        total: rows of the input; None: it was a pipe.
        complete: every row has come to an end of its own, and is written.
        failure: why it could not go on; None: nothing failed but rows.
        unkept: why answers could no longer be kept; None: they could.
        signal: the name of the one that stopped it; None: none did.
        journal: where answers are kept; None: nowhere.
        left: where the rows are that were written, of a file that is not whole; None: nowhere else.
        left_out: what is to be said of empty rows; "": nothing.
    """

    args: RunArgs
    report: Report
    summary: Summary
    total: int | None
    complete: bool
    failure: CommandError | None
    unkept: Reason | None
    signal: str | None
    journal: str | None
    left: str | None
    left_out: str

    def lines(self) -> list[str]:
        """What is said."""
        said = self.report.failures()
        if self.unkept is not None and (self.complete or self.failure is not None):  # else it is the reason
            said.append(f"fanmap: not all answers were kept: {self.unkept.text}")
        if self.complete:
            said += self._retry()
        else:
            reason = self.reason()
            said.append(f"fanmap: {reason.text}" if self.failure is not None else f"fanmap: stopped by {reason.text}")
            said.append(self._resume(reason))
        if not self.args.quiet:
            said += [f"fanmap: {self.left_out}"] if self.left_out else []
            said += str(with_unread_rows(self.summary, self.report, self.total)).splitlines()
        return said

    def reason(self) -> Reason:
        """Why not every row has come to its end."""
        if self.failure is not None:
            return _reason_of(self.failure)
        if self.unkept is not None:
            return self.unkept
        if self.signal is not None:
            return Reason(self.signal)
        reason, deadline, most = self.report.reason, self.args.deadline, self.args.max_failures
        if deadline is not None and (reason is DEADLINE or (not self.report.cut and self.summary.seconds >= deadline)):
            answered = self.report.answered > self.summary.resumed
            return Reason(f"--deadline {deadline:g}", "" if answered else "with a larger --deadline, ")
        if most is not None and (reason is TOO_MANY or (not self.report.blamed and self.report.failed >= most)):
            return Reason(f"{TOO_MANY.text} {most}", TOO_MANY.first)
        return reason or Reason("stop()")

    def _retry(self) -> list[str]:
        first = what_to_change(self.args, self.report)
        if self.journal is not None and self.report.failed:
            return [f"fanmap: {first}rerun the same command to retry only these"]
        return [f"fanmap: {first}rerun"] if first else []

    def _resume(self, reason: Reason) -> str:
        if self.journal is not None:
            return how_to_resume(self.args, self.journal, self.left, reason)
        if self.left is not None:
            return f"fanmap: the rows so far are in {self.left}"
        return "fanmap: answers were not kept: --resume PATH keeps them"


def what_to_change(args: RunArgs, report: Report) -> str:
    """What comes before a rerun, where answers could not be written as JSON; else ""."""
    change = f"change what {args.function} returns (see the field {args.error_field!r}), then "
    return change if report.not_json else ""


def how_to_resume(args: RunArgs, journal: str, left: str | None, reason: Reason) -> str:
    """Where answers are kept, and what comes before a rerun."""
    untouched = "" if left is None else f", {args.output} is untouched"
    return f"fanmap: answers are kept in {journal}{untouched}: {reason.first}rerun the same command to resume"


def _reason_of(failure: CommandError) -> Reason:
    cause = failure.__cause__
    if isinstance(cause, OSError):
        return Reason(str(failure), before_writing_again(cause.errno))
    return Reason(str(failure), "after fixing the input, " if failure.status == 2 else "after fixing that, ")
