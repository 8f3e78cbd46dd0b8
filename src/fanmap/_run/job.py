"""One run of the command: rows in, calls, rows out, and what is said at the end."""

from __future__ import annotations

import contextlib
import errno
import math
from typing import Any

from fanmap._failure import CommandError
from fanmap._run.answers import AnswerNotJson, to_json
from fanmap._run.heard import Heard
from fanmap._run.interrupts import Interrupts
from fanmap._run.last_words import Over
from fanmap._run.output import Output
from fanmap._run.processes import Processes
from fanmap._run.reasons import journal_text
from fanmap._run.report import Report
from fanmap._run.rows import Rows
from fanmap._run.rows_in import Row
from fanmap._run.rows_out import Table
from fanmap._run.run_args import RunArgs
from fanmap._run.trace_path import check_trace
from fanmap._run.watching import Watch
from fanmap._ways import Parallel
from fanmap.types import JournalOptions, Results, RunStats


class Job:
    """One run of the command.

    Args:
        total: rows of the input; None: it is a pipe.
        journal: where answers are kept; None: nowhere.
        processes: in which the function is called; None: in this one.
    """

    def __init__(
        self,
        args: RunArgs,
        function: Parallel[Any, Any],
        rows: Rows,
        table: Table,
        output: Output,
        total: int | None,
        journal: str | None,
        processes: Processes | None = None,
    ) -> None:
        self._args = args
        self._processes = processes
        if processes is not None:
            processes.fail, processes.on_stop = self._give_up, self._stop
        self._rows, self._table, self._output = rows, table, output
        self._total, self._journal = total, journal
        self._report = Report()
        self._watch = Watch(total, quiet=args.quiet)
        self._interrupts, self._heard = Interrupts(), Heard(self._watch.say)
        self._failure: CommandError | None = None
        self._reader_left = False
        self._stopping = False
        check_trace(args.trace)
        options: JournalOptions = {}
        if journal is not None:
            # Kept as it is written: nobody gets these answers back as Python.
            options = {
                "version": args.function_version, "durable": args.durable, "encode": to_json, "decode": as_it_is,
            }  # fmt: skip
        self._results: Results[Any] = function.imap(
            rows.calls(),
            # A row is passed as its arguments alone, so that nothing else is part of a kept answer's key.
            unpack=True,
            return_exceptions=True,
            deadline=args.deadline,
            max_failures=args.max_failures,
            progress=self._look,
            resume=journal,
            trace=args.trace,
            **options,
        )

    async def run(self) -> int:
        """Call for every row, write what comes back, say what it came to.

        Returns:
            The exit status.

        Raises:
            CommandError: journal or output cannot be used; nothing was called.
            BrokenPipeError: nobody reads the output any more.
        """
        with self._heard:  # before the first call
            try:
                await self._results.__aenter__()
            except (OSError, TypeError, ValueError) as error:  # of the journal, or of what processes share
                raise CommandError(journal_text(error), status=2) from error
            left = await self._run()
        if self._reader_left:
            raise BrokenPipeError(errno.EPIPE, "nobody reads the output any more")
        return self._tell(left)

    async def _run(self) -> str | None:
        """Where rows are left that were written, of a file that is not whole; None: nowhere else."""
        results, processes = self._results, self._processes or contextlib.nullcontext()
        with self._interrupts:
            try:
                self._output.open(self._heed)  # after the journal, whose lock keeps a second run away
                async with processes:
                    await self._take_all()
                    await results.aclose()
            finally:
                await results.aclose()
                self._watch.clear()
                left = self._output.leave()
        return left

    async def _take_all(self) -> None:
        try:
            async for value in self._results:
                row = self._rows.taken.popleft()
                answer, error = outcome_of(value)
                if self._report.hear(row, error) and not self._gone_wrong():
                    self._write(row, answer, error)
                if isinstance(error, AnswerNotJson) and self._report.failed >= (self._args.max_failures or math.inf):
                    self._stop()  # to the run this was no failure
            if self._complete():
                self._begin()
                self._output.finish()
        except CommandError as failure:  # of a pipe, after what had been taken; or of the last steps
            self._failure = self._failure or failure
        except SystemExit as ended:
            self._failure = CommandError(f"{self._args.function} ended the program: it calls sys.exit()", status=1)
            self._failure.__cause__ = ended
        except KeyboardInterrupt as ended:  # Ctrl-C raises none here
            self._failure = CommandError(f"{self._args.function} raised KeyboardInterrupt", status=130)
            self._failure.__cause__ = ended

    def _write(self, row: Row, answer: Any, error: BaseException | None) -> None:
        try:
            self._begin()
            self._output.write(self._table.line(row, answer, error))
        except CommandError as failure:
            self._failure = failure
            self._stop()  # calls under way end, and are kept
        except BrokenPipeError:
            if self._journal is None:
                raise
            self._reader_left = True
            self._stop()

    def _begin(self) -> None:
        head = self._table.begin() if self._rows.head is None else self._rows.head
        if head:
            self._output.write(head)
        self._rows.head = b""

    def _stop(self) -> None:
        """Calls under way end, nothing else starts."""
        self._results.stop()
        if self._processes is not None:
            self._processes.stop()

    def _give_up(self, failure: CommandError) -> None:
        self._failure = self._failure or failure
        self._stop()

    def _gone_wrong(self) -> bool:
        return self._failure is not None or self._reader_left

    def _complete(self) -> bool:
        return self._rows.exhausted and not self._report.cut and not self._gone_wrong()

    def _look(self, stats: RunStats) -> None:
        self._heed()
        if not self._stopping:  # then rows that will not be run count as failed
            self._watch.look(stats if self._processes is None else self._processes.seen(stats))

    def _heed(self) -> None:
        """Do what a signal asks for."""
        if self._interrupts.signal_received is not None and not self._stopping:
            self._stopping = True
            self._stop()
        if self._interrupts.announce():
            self._watch.say("fanmap: stopping, in-flight calls will finish; Ctrl-C again exits now")

    def _tell(self, left: str | None) -> int:
        complete, interrupts = self._complete(), self._interrupts
        interrupted = interrupts.signal_received is not None
        over = Over(
            args=self._args,
            report=self._report,
            summary=self._results.summary if self._processes is None else self._processes.told(self._results.summary),
            total=self._total,
            complete=complete,
            failure=self._failure,
            unkept=self._heard.unkept,
            signal=interrupts.name if interrupted else None,
            journal=self._journal,
            left=left,
            left_out=str(self._rows.left_out),
        )
        said = over.lines()
        if said:
            self._watch.say("\n".join(said))
        if self._failure is not None:
            return self._failure.status
        return interrupts.status if interrupted and not complete else int(not complete or self._report.failed > 0)


def outcome_of(value: Any) -> tuple[Any, BaseException | None]:
    """A result as plain JSON, or why there is none."""
    if isinstance(value, BaseException):
        return None, value
    try:
        return to_json(value), None
    except AnswerNotJson as error:
        return None, error


def as_it_is(value: Any) -> Any:
    """What was kept is what is written."""
    return value
