"""`fanmap run`, from its options to its exit status.

What can be wrong with the call, and with an input that can be read twice, is found before the first call.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from typing import IO, Any

from fanmap._failure import Failure
from fanmap._resume import returned_by
from fanmap._run import output, target
from fanmap._run.calling import Calls
from fanmap._run.given import Given
from fanmap._run.job import Job, Rows
from fanmap._run.rows_in import format_of
from fanmap._run.rows_out import Csv, JsonLines, Table, plain_answers
from fanmap._run.source import Source
from fanmap._ways import Parallel


def run(given: Given) -> int:
    """Run the command.

    Returns:
        0 all answered; 1 some failed, or were not run; 2 what was read from a pipe was wrong; 128 and the number
        of the signal that stopped it.

    Raises:
        Failure: it cannot run, as its text says; nothing was called.
        BrokenPipeError: nobody reads the output any more.
    """
    stdout = sys.stdout
    # What the user's module prints must not be among the rows.
    with contextlib.redirect_stdout(sys.stderr) if given.file is None else contextlib.nullcontext():
        return asyncio.run(_prepare(given, stdout.buffer).run())


def _prepare(given: Given, stdout: IO[bytes]) -> Job:
    """Check everything that can be checked."""
    beside = given.file is not None and output.is_regular(given.file)
    journal = given.journal(beside=beside)
    found = target.find(given.function)
    source = Source(given.input)
    _check_paths({"INPUT": source.path, "OUTPUT": given.file if beside else None, "--resume": journal})
    function = _limited(given, found)
    calls = Calls(found, given.function.partition(":")[2], given.mapping, source.name)
    table = _table(given, found, source.name)
    form = given.input_format or ("lines" if given.input == "-" else format_of(given.input))
    rows = Rows(source, form, given.limit, table, calls)
    total = rows.check() if rows.again else None
    return Job(given, function, rows, table, _output(given.file, stdout, beside, journal), total, journal)


def _check_paths(paths: dict[str, str | None]) -> None:
    given = [(name, path) for name, path in paths.items() if path is not None]
    for (one, path), (other, same) in itertools.combinations(given, 2):
        alike = os.path.realpath(path) == os.path.realpath(same)
        if alike or (os.path.exists(path) and os.path.exists(same) and os.path.samefile(path, same)):
            raise Failure(f"{one} and {other} are the same file: {path}", status=2)


def _limited(given: Given, found: Any) -> Parallel[Any, Any]:
    function = target.prepare(
        found, max_concurrency=given.max_concurrency, rpm=given.rpm, tpm=given.tpm, retry=given.retry
    )
    limits = (("--max-concurrency", given.max_concurrency), ("--rpm", given.rpm), ("--tpm", given.tpm))
    said = ", ".join(f"{option} {value}" for option, value in limits if value is not None)
    if said and isinstance(found, Parallel) and not given.quiet:
        print(f"fanmap: {given.function} runs under {said} instead of its own limits", file=sys.stderr)
    return function


def _table(given: Given, found: Any, source: str) -> Table:
    by_name = "csv" if given.file is not None and given.file.lower().endswith(".csv") else "jsonl"
    kind = Csv if (given.output_format or by_name) == "csv" else JsonLines
    plain = plain_answers(returned_by(getattr(found, "__wrapped__", found)))
    return kind(given.answer_field, given.error_field, plain, source)


def _output(file: str | None, stdout: IO[bytes], beside: bool, journal: str | None) -> output.Output:
    if file is None:
        return output.Stream(stdout)
    if beside:
        return output.File(file, kept=journal is not None)
    try:
        return output.Stream(open(file, "wb"), file)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}", status=2) from error
