"""The command line of `fanmap run`, as values."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

from fanmap._failure import CommandError
from fanmap._run.formats import Form, Kind, input_form, output_form


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArgs:
    """What the user gave; `arguments` has read it, and says what each is."""

    function: str
    input: str
    output: str | None
    input_format: Kind | None
    output_format: Literal["jsonl", "csv"] | None
    delimiter: str | None
    safe_csv: bool
    mapping: list[tuple[str, str]]
    answer_field: str
    error_field: str
    limit: int | None
    max_concurrency: int | Literal["auto"] | None
    rpm: float | None
    tpm: float | None
    max_spend: float | None
    max_wait: float | None
    retry: int | Literal[False] | None
    deadline: float | None
    max_failures: int | None
    resume: str | None
    no_resume: bool
    function_version: str | None
    trace: str | None
    durable: bool
    quiet: bool
    processes: int | None
    batch: bool
    endpoints: list[str]
    only: bool
    poll: float | None

    def within(self, folder: str) -> RunArgs:
        """The same with paths that are seen from there."""

        def seen(path: str) -> str:
            return path if path == "-" else os.path.join(folder, path)

        output = None if self.output is None else seen(self.output)
        resume = None if self.resume is None else seen(self.resume)
        trace = None if self.trace is None else seen(self.trace)
        return replace(self, input=seen(self.input), output=output, resume=resume, trace=trace)

    def forms(self) -> tuple[Form, Form]:
        """The formats of INPUT and OUTPUT.

        Raises:
            CommandError: a file's name says a format that is not read or written, or an option is for a format that
                is not there.
        """
        source = input_form(self.input, self.input_format, self.delimiter)
        table = output_form(self.output, self.output_format, self.delimiter)
        if self.delimiter is not None and source.kind != "csv" and table.kind != "csv":
            raise CommandError("--delimiter is only for CSV: use --input-format csv or --output-format csv", status=2)
        if self.safe_csv and table.kind != "csv":
            raise CommandError("--safe-csv is only for CSV: use --output-format csv", status=2)
        return source, table

    def check_batch(self) -> None:
        """Do the others of these options go together with `--batch`, and without it?

        Raises:
            CommandError: one of them does not.
        """
        if not self.batch:
            for option, given in (
                ("--endpoint", bool(self.endpoints)), ("--only", self.only), ("--poll", self.poll is not None),
            ):  # fmt: skip
                if given:
                    raise CommandError(f"{option} is only for --batch", status=2)
            return
        for option, given, why in (
            ("--processes", self.processes is not None, "no call waits for an answer, so one process is enough"),
            ("--no-resume", self.no_resume, "the journal holds what was submitted"),
            ("--max-failures", self.max_failures is not None, "all rows are submitted before the first answer"),
            ("--trace", self.trace is not None, "there are no calls to draw"),
        ):
            if given:
                raise CommandError(f"{option} and --batch cannot be combined: {why}", status=2)

    def journal(self, *, beside: bool) -> str | None:
        """Where answers are kept; None: nowhere.

        Args:
            beside: OUTPUT is a file, beside which there may be another.

        Raises:
            CommandError: options that cannot be combined, or that need a journal where there is none.
        """
        if self.no_resume and self.resume is not None:
            raise CommandError("--resume and --no-resume cannot be combined", status=2)
        if self.resume is not None:
            return self.resume
        if beside and not self.no_resume:
            return f"{self.output}.journal"
        needy = (
            ("--function-version", self.function_version is not None), ("--durable", self.durable),
            ("--batch", self.batch),
        )  # fmt: skip
        for option, wanted in needy:
            if wanted:
                raise CommandError(f"{option} needs a journal: give -o FILE or --resume PATH", status=2)
        return None
