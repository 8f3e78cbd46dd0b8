"""One run of the command with `--batch`: rows in, batches, rows out, and what is said at the end.

All rows are read before the first request is submitted, and written when the last answer is there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fanmap import BatchError, BatchPending, JournalError, NotRun
from fanmap._batch import BatchRun, awaited, check_options
from fanmap._failure import CommandError
from fanmap._raw import is_a
from fanmap._run.answers import to_json
from fanmap._run.batch_words import BatchOver
from fanmap._run.calling import Call
from fanmap._run.heard import Heard
from fanmap._run.interrupts import Interrupts
from fanmap._run.job import as_it_is, outcome_of
from fanmap._run.output import Output
from fanmap._run.reasons import DEADLINE, Reason, before_writing_again, journal_text, reason_of_cut
from fanmap._run.report import Report
from fanmap._run.rows import Rows
from fanmap._run.rows_out import Table
from fanmap._run.run_args import RunArgs
from fanmap._stderr import is_terminal, say
from fanmap._ways import Parallel
from fanmap.types import BatchProgress, BatchSummary

_TICK: Final = 0.1  # seconds between looks for a signal


class BatchJob:
    """One run of the command.

    Args:
        journal: where the job is.
    """

    def __init__(
        self, args: RunArgs, function: Parallel[Any, Any], rows: Rows, table: Table, output: Output, journal: str
    ) -> None:
        self._args, self._function = args, function
        self._rows, self._table, self._output = rows, table, output
        self._journal = journal
        self._report = Report()
        self._interrupts, self._heard = Interrupts(), Heard(_say)
        self._summary: BatchSummary | None = None
        self._last = ""
        self._stopped: Reason | None = None
        self._status = 1

    async def run(self) -> int:
        """Submit every row that has no answer, wait, write what came back, say what it came to.

        Returns:
            The exit status.

        Raises:
            CommandError: the input, the journal or the output cannot be used; nothing was called.
            BrokenPipeError: nobody reads the output any more.
        """
        calls = await self._calls()
        with self._heard:
            run = self._open(calls)
            with self._interrupts:
                try:
                    self._output.open(self._heed)  # after the journal, whose lock keeps a second run away
                except BaseException:
                    run.close()
                    self._output.leave()
                    raise
                try:
                    self._write(await self._results(run))
                finally:
                    left = self._output.leave()
        return self._tell(left, run.under_way())

    async def _calls(self) -> list[Call]:
        calls = self._rows.calls()
        return [call async for call in calls] if not isinstance(calls, Iterator) else list(calls)

    def _open(self, calls: list[Call]) -> BatchRun:
        args = self._args
        try:
            options = check_options(
                resume=self._journal,
                # The same keys and records as without --batch, so that either goes on with the other's file. What was
                # submitted is paid for, and so waits for the disk.
                journal={"version": args.function_version, "encode": to_json, "decode": as_it_is},
                unpack=True,
                return_exceptions=True,
                max_concurrency=None,
                wait=args.deadline,
                poll=args.poll,
                max_turns=8,
                only=args.only,
                endpoints=args.endpoints,
                progress=None if args.quiet else self._look,
            )
            return BatchRun(self._function, calls, options, blocking=False)
        except (JournalError, TypeError, ValueError) as error:
            raise CommandError(journal_text(error), status=2) from error

    async def _results(self, run: BatchRun) -> Mapping[int, Any]:
        """By index; where not all are there, `_stopped` says why."""
        here = asyncio.current_task()
        assert here is not None
        watching = asyncio.create_task(self._watch(here))
        try:
            results = await awaited(run)
            if run.stopped_by is None:
                return dict(enumerate(results))
            why = reason_of_cut(run.stopped_by)
            self._stopped = why and Reason(f"stopped by {why.text}", why.first)
            return {index: one for index, one in enumerate(results) if not is_a(one, NotRun)}
        except asyncio.CancelledError:
            if self._interrupts.signal_received is None:
                raise
            here.uncancel()
            self._stopped, self._status = Reason(f"stopped by {self._interrupts.name}"), self._interrupts.status
        except BatchPending:
            self._stopped = Reason(f"stopped by {DEADLINE.text} {self._args.deadline:g}")
        except JournalError as error:
            self._stopped = Reason(f"stopped by the journal: {journal_text(error)}", before_writing_again(error.errno))
        except BatchError as error:
            self._stopped = self._heard.unkept or _reason_of(error)
        except SystemExit:
            text = f"{self._args.function} ended the program: it calls sys.exit()"
            self._stopped = Reason(text, "after fixing that, ")
        finally:
            watching.cancel()
        return run.finished()

    async def _watch(self, running: asyncio.Task[Any]) -> None:
        while self._interrupts.signal_received is None:
            await asyncio.sleep(_TICK)
        running.cancel()  # batches go on, and the next call finds one whose making was not answered

    def _write(self, results: Mapping[int, Any]) -> None:
        try:
            head = self._table.begin() if self._rows.head is None else self._rows.head
            if head:
                self._output.write(head)
            for index, row in enumerate(self._rows.taken):
                answer, error = outcome_of(results[index]) if index in results else (None, NotRun("no answer yet"))
                if self._report.hear(row, error):
                    self._output.write(self._table.line(row, answer, error))
            if self._stopped is None:
                self._output.finish()
        except CommandError as failure:
            cause = failure.__cause__
            first = before_writing_again(cause.errno) if isinstance(cause, OSError) else ""
            self._stopped, self._status = Reason(str(failure), first), failure.status

    def _heed(self) -> None:
        """Nobody takes the rows: a signal ends that."""
        if self._stopped is None and self._interrupts.signal_received is not None:
            raise CommandError(f"stopped by {self._interrupts.name}", status=self._interrupts.status)

    def _look(self, progress: BatchProgress) -> None:
        text = str(progress)
        if text != self._last:
            self._last = text
            say(f"fanmap: {text}\n")
        self._summary = progress.summary

    def _tell(self, left: str | None, under_way: int) -> int:
        over = BatchOver(
            args=self._args,
            report=self._report,
            summary=self._summary,
            stopped=self._stopped,
            under_way=under_way,
            journal=self._journal,
            left=left,
            left_out=str(self._rows.left_out),
        )
        said = over.lines()
        if said:
            echoed = self._interrupts.signal_received is not None and is_terminal()  # ^C
            say(("\n" if echoed else "") + "\n".join(said) + "\n")
        return self._status if self._stopped is not None else int(self._report.failed > 0)


def _say(text: str) -> None:
    say(f"{text}\n")


def _reason_of(error: BatchError) -> Reason:
    text = str(error).replace("call again to", "rerun the same command to").replace("only=True, but", "--only, but", 1)
    text = text.replace("map with the same resume= asks", "the same command without --batch asks")
    text = re.sub(r"add endpoints=\['(.*)'\]$", r"add --endpoint \1", text)
    return Reason(text, "" if "rerun the same command" in text else "after fixing that, ")
