"""`fanmap run`, from its options to its exit status.

What can be wrong with the call, and with an input that can be read twice, is found before the first call.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from fanmap._drive.limits.limits import budget_of
from fanmap._failure import CommandError
from fanmap._policy.tokens.money import only_counts
from fanmap._run import output, target
from fanmap._run.calling import Calls
from fanmap._run.formats import Form
from fanmap._run.job import Job
from fanmap._run.processes import Processes, proxied
from fanmap._run.rows import Rows
from fanmap._run.rows_out import Csv, JsonLines, Table
from fanmap._run.run_args import RunArgs
from fanmap._run.sharing import shared_in
from fanmap._run.source import Source
from fanmap._run.streams import Stream, occupy_standard_descriptors
from fanmap._stderr import say
from fanmap._ways import Parallel

if TYPE_CHECKING:
    from fanmap._run.batch_job import BatchJob


def run(args: RunArgs) -> int:
    """Run the command.

    Returns:
        0 all answered; 1 some failed, or were not run; 2 what was read from a pipe was wrong; 128 and the number
        of the signal that stopped it.

    Raises:
        CommandError: it cannot run, as its text says; nothing was called.
        BrokenPipeError: nobody reads the output any more.
    """
    occupy_standard_descriptors()
    to_file = output.is_file(args.output)
    # Before the user's module is imported, which may open files: a descriptor is the shell's, and not one of those.
    stream = None if to_file or output.waits_for_reader(args.output) else output.open_stream(args.output)
    # What the user's module prints must not be among the rows.
    aside = output.is_standard_output(args.output) or (stream is not None and stream.is_open_as(1))
    with contextlib.redirect_stdout(sys.stderr) if aside else contextlib.nullcontext():
        return asyncio.run(_prepare(args, stream, to_file=to_file).run())


def _prepare(args: RunArgs, stream: Stream | None, *, to_file: bool) -> Job | BatchJob:
    """Check everything that can be checked."""
    source_form, table_form = args.forms()
    args.check_batch()
    args.journal(beside=to_file)
    here = os.getcwd()
    several = args.processes is not None
    if several and args.max_spend is not None:
        raise CommandError("--max-spend and --processes cannot be combined: a total is kept in one process", status=2)
    with shared_in(tempfile.gettempdir()) if several else contextlib.nullcontext():  # names; nothing is opened here
        found = target.find(args.function)
        function: Any = _limited(args, found)
    if several and any(rate.per == math.inf and not only_counts(rate) for rate in budget_of(function.limits).rates):
        raise CommandError("max_spend= and other totals cannot be combined with --processes", status=2)
    if os.getcwd() != here:  # the module has gone elsewhere; the paths are where the user stands
        args = args.within(here)
    journal = args.journal(beside=to_file)
    _check_paths(args, journal, stream, to_file=to_file)
    source = Source(args.input)
    if stream is not None and source.identity() is not None and source.identity() == stream.identity():
        raise CommandError(f"{source.name} and {stream.name} are the same file", status=2)
    calls = Calls(function, args.function.partition(":")[2], args.mapping, source.name)
    table = _table(args, table_form, source.name)
    rows = Rows(source, source_form, args.limit, table, calls)
    total = rows.check() if rows.again else None
    processes = None
    if args.processes is not None:
        if os.name != "posix":
            raise CommandError("--processes needs Linux or macOS", status=2)
        count = args.processes if total is None else max(1, min(args.processes, total))  # others have nothing to do
        processes = Processes(count, function.stats.ceiling, args.function, _settings(args))
        function = proxied(function, processes, count)
    where: output.Output
    if to_file:
        assert args.output is not None
        file = where = output.File(args.output, ours=journal is not None and os.path.exists(journal))
        file.check()  # now: a run that has begun is drawn, and would take the place of an earlier drawing
    else:
        where = stream or output.open_stream(args.output)
    if args.batch:
        from fanmap._run.batch_job import BatchJob  # only where somebody asks for it

        assert journal is not None
        return BatchJob(args, function, rows, table, where, journal)
    return Job(args, function, rows, table, where, total, journal, processes)


def _check_paths(args: RunArgs, journal: str | None, stream: Stream | None, *, to_file: bool) -> None:
    """No two of the files are the same one: what is written to the one would destroy the other."""
    module = getattr(sys.modules.get(args.function.partition(":")[0]), "__file__", None)
    paths = {"INPUT": None if args.input == "-" else args.input, "OUTPUT": None, "the partial OUTPUT": None}
    if to_file:
        assert args.output is not None
        paths |= {"OUTPUT": args.output, "the partial OUTPUT": output.partial_of(args.output)}
    paths |= {"--resume" if args.resume is not None else "the journal": journal, "the module": module}
    paths["--trace"] = args.trace
    given = [(name, path) for name, path in paths.items() if path is not None]
    for (one, path), (other, same) in itertools.combinations(given, 2):
        if _same_file(path, same):
            raise CommandError(f"{one} and {other} are the same file: {path}", status=2)
    place = None if stream is None else stream.identity()
    for name, path in given:
        if stream is not None and place is not None and name != "INPUT" and place == _identity(path):
            raise CommandError(f"{stream.name} and {name} are the same file: {path}", status=2)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _same_file(one: str, other: str) -> bool:
    try:
        first, second = os.stat(one), os.stat(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
    # Two names of a terminal are no harm.
    return os.path.samestat(first, second) and not stat.S_ISCHR(first.st_mode)


def _limited(args: RunArgs, found: Any) -> Parallel[Any, Any]:
    function = target.prepare(found, _settings(args))
    limits = (("--max-concurrency", args.max_concurrency), ("--rpm", args.rpm), ("--tpm", args.tpm))
    given = ", ".join(f"{option} {value}" for option, value in limits if value is not None)
    if given and isinstance(found, Parallel) and not args.quiet:
        say(f"fanmap: {args.function} runs under {given} instead of its own limits\n")
    return function


def _settings(args: RunArgs) -> target.Settings:
    return target.Settings(args.max_concurrency, args.rpm, args.tpm, args.max_spend, args.max_wait, args.retry)


def _table(args: RunArgs, form: Form, source: str) -> Table:
    if form.kind == "csv":
        return Csv(args.answer_field, args.error_field, source, delimiter=form.delimiter, safe=args.safe_csv)
    return JsonLines(args.answer_field, args.error_field, source)
