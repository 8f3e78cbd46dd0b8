"""One run of the command: rows in, calls, rows out, and what is said at the end."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fanmap import JournalError, JournalOptions, Results, RunStats
from fanmap._failure import Failure
from fanmap._run.calling import Call, Calls
from fanmap._run.given import Given
from fanmap._run.interrupts import Interrupts
from fanmap._run.output import Output
from fanmap._run.report import Report, plainly, whole
from fanmap._run.rows_in import Format, Row, read
from fanmap._run.rows_out import Table
from fanmap._run.source import Source, from_thread
from fanmap._run.watching import Watch
from fanmap._ways import Parallel


class Rows:
    """The rows of the input and their calls, in order, and those that have no outcome yet.

    Attributes:
        again: the input can be read twice.
        taken: rows without an outcome, the first one first.
        exhausted: every row was taken.
        head: what stands before the first row of the output; None: not known before a row was taken.
    """

    def __init__(self, source: Source, form: Format, limit: int | None, table: Table, calls: Calls) -> None:
        self._source, self._limit = source, limit
        self._form: Format = form
        self._table, self._calls = table, calls
        self.again = source.path is not None
        self.taken: deque[Row] = deque()
        self.exhausted = False
        self.head: bytes | None = None

    def check(self) -> int:
        """Read all of it once; the number of its rows.

        Raises:
            Failure: a row cannot be read, called, or written.
        """
        count = 0
        for row in self._rows():
            self._table.admit(row)
            self._calls.of(row)
            count += 1
        self.head = self._table.begin()
        return count

    def calls(self) -> Iterator[Call] | AsyncIterator[Call]:
        """The calls, as the run takes them; of a pipe, awaited."""
        return self._of_file() if self.again else self._of_pipe()

    def _rows(self) -> Iterator[Row]:
        rows = read(self._source.lines(), self._form, self._source.name, self._table.head)
        return itertools.islice(rows, self._limit)

    def _of_file(self) -> Iterator[Call]:
        for row in self._rows():
            yield self._take(row)
        self.exhausted = True

    async def _of_pipe(self) -> AsyncIterator[Call]:
        async for row in from_thread(self._rows()):
            yield self._take(row)
        self.exhausted = True

    def _take(self, row: Row) -> Call:
        self._table.admit(row)
        call = self._calls.of(row)
        if self.head is None:
            self.head = self._table.begin()
        self.taken.append(row)
        return call


class Job:
    """One run of the command.

    Args:
        total: rows of the input; None: it is a pipe.
        journal: where answers are kept; None: nowhere.
    """

    def __init__(
        self,
        given: Given,
        function: Parallel[Any, Any],
        rows: Rows,
        table: Table,
        output: Output,
        total: int | None,
        journal: str | None,
    ) -> None:
        self._given = given
        self._rows, self._table, self._output = rows, table, output
        self._total, self._journal = total, journal
        self._report = Report(given.deadline)
        self._interrupts = Interrupts()
        self._watch = Watch(total, quiet=given.quiet)
        self._failure: Failure | None = None
        self._stopping = False
        options: JournalOptions = {}
        if journal is not None:
            options = {"version": given.function_version, "durable": given.durable}
        self._results: Results[Any] = function.imap(
            rows.calls(),
            # A row is passed as its arguments alone, so that nothing else is part of a kept answer's key.
            unpack=True,
            return_exceptions=True,
            deadline=given.deadline,
            progress=self._look,
            resume=journal,
            **options,
        )

    async def run(self) -> int:
        """Call for every row, write what comes back, say what it came to.

        Returns:
            The exit status.

        Raises:
            Failure: journal or output cannot be used; nothing was called.
            BrokenPipeError: nobody reads the output any more.
        """
        results = self._results
        try:
            await results.__aenter__()
        except (JournalError, TypeError, ValueError) as error:
            raise Failure(plainly(error), status=2) from error
        with self._interrupts:
            try:
                self._output.open()  # after the journal, whose lock keeps a second run away
                await self._take_all()
            finally:
                await results.aclose()
                self._watch.clear()
                left = self._output.leave()
        return self._tell(left)

    async def _take_all(self) -> None:
        try:
            async for value in self._results:
                row = self._rows.taken.popleft()
                error = value if isinstance(value, BaseException) else None
                if self._report.hear(row, error) and self._failure is None:
                    self._write(row, value, error)
            if self._complete():
                self._begin()
                self._output.finish()
        except Failure as failure:  # of a pipe, after what had been taken; or of the last steps
            self._failure = self._failure or failure

    def _write(self, row: Row, value: Any, error: BaseException | None) -> None:
        try:
            self._begin()
            self._output.write(self._table.line(row, value, error))
        except Failure as failure:
            self._failure = failure
            self._results.stop()  # calls under way end, and are kept

    def _begin(self) -> None:
        head = self._table.begin() if self._rows.head is None else self._rows.head
        if head:
            self._output.write(head)
        self._rows.head = b""

    def _complete(self) -> bool:
        return self._rows.exhausted and not self._report.cut and self._failure is None

    def _look(self, stats: RunStats) -> None:
        if self._interrupts.heard is not None and not self._stopping:
            self._stopping = True
            self._results.stop()
            self._watch.say("fanmap: stopping, calls under way end; Ctrl-C again leaves at once")
        self._watch.look(stats)

    def _tell(self, left: str | None) -> int:
        report, complete, heard = self._report, self._complete(), self._interrupts.heard is not None
        said = report.failures()
        if self._failure is not None:
            said.append(f"fanmap: {self._failure}")
        elif not complete:
            said.append(f"fanmap: {report.why_cut(heard)}")
        said += self._what_next(complete, left)
        if not self._given.quiet:
            said += str(whole(self._results.summary, self._total, report.heard)).splitlines()
        if said:
            self._watch.say("\n".join(said))
        if self._failure is not None:
            return self._failure.status
        return self._interrupts.status if heard and not complete else int(not complete or report.failed > 0)

    def _what_next(self, complete: bool, left: str | None) -> list[str]:
        if self._journal is None:
            return [] if complete or left is None else [f"fanmap: what was answered is in {left}"]
        if complete:
            return ["fanmap: the same command again calls for these only"] if self._report.failed else []
        untouched = "" if left is None else f", {self._given.output} is untouched"
        return [f"fanmap: answers are kept in {self._journal}{untouched}: the same command goes on"]
