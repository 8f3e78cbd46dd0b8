"""What is said when a run with `--batch` is over: what failed, what stopped it, what goes on, what to write next.

Pure.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from fanmap._run.last_words import how_to_resume, what_to_change
from fanmap._run.reasons import Reason
from fanmap._run.report import Report
from fanmap._run.run_args import RunArgs
from fanmap.types import BatchSummary


@dataclass(frozen=True, slots=True)
class BatchOver:
    """A run that is over.

    Attributes:
        args: of the command.
        report: what became of its rows.
        summary: of its batches; None: nobody wants to read it, or it did not begin.
        stopped: why not every row has come to an end of its own and is written; None: each has.
        under_way: batches that go on at the provider.
        journal: where the job is.
        left: where the rows are that were written, of a file that is not whole; None: nowhere else.
        left_out: what is to be said of empty rows; "": nothing.
    """

    args: RunArgs
    report: Report
    summary: BatchSummary | None
    stopped: Reason | None
    under_way: int
    journal: str
    left: str | None
    left_out: str

    def lines(self) -> list[str]:
        """What is said."""
        said = self.report.failures()
        if self.stopped is None:
            if self.report.failed:
                first = what_to_change(self.args, self.report)
                said.append(f"fanmap: {first}rerun the same command to retry only these")
        else:
            said += self._how_to_go_on(self.stopped)
        if not self.args.quiet:
            said += [f"fanmap: {self.left_out}"] if self.left_out else []
            said += str(self._as_rows_have_it(self.summary)).splitlines() if self.summary is not None else []
        return said

    def _how_to_go_on(self, stopped: Reason) -> list[str]:
        said = [f"fanmap: {stopped.text}"]
        if self.under_way:
            which = "1 batch continues" if self.under_way == 1 else f"{self.under_way} batches continue"
            cancel = f"`fanmap batch cancel {shlex.quote(self.journal)}`"
            said.append(f"fanmap: {which} at the provider; {cancel} cancels what is left")
        return [*said, how_to_resume(self.args, self.journal, self.left, stopped)]

    def _as_rows_have_it(self, summary: BatchSummary) -> BatchSummary:
        """Answers without JSON failed."""
        return replace(summary, failed=summary.failed + self.report.not_json)
