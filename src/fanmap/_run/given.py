"""The command line of `fanmap run`, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fanmap._failure import Failure
from fanmap._run.rows_in import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user gave; `arguments` has read it, and says what each is."""

    function: str
    input: str
    output: str | None
    input_format: Format | None
    output_format: Literal["jsonl", "csv"] | None
    mapping: list[tuple[str, str]]
    answer_field: str
    error_field: str
    limit: int | None
    max_concurrency: int | Literal["auto"] | None
    rpm: float | None
    tpm: float | None
    retry: int | Literal[False] | None
    deadline: float | None
    resume: str | None
    no_resume: bool
    function_version: str | None
    durable: bool
    quiet: bool

    @property
    def file(self) -> str | None:
        """OUTPUT; None: standard output."""
        return None if self.output == "-" else self.output

    def journal(self, *, beside: bool) -> str | None:
        """Where answers are kept; None: nowhere.

        Args:
            beside: OUTPUT is a file, beside which there may be another.

        Raises:
            Failure: options that exclude each other, or that need a journal where there is none.
        """
        if self.no_resume and self.resume is not None:
            raise Failure("--resume and --no-resume exclude each other", status=2)
        if self.resume is not None:
            return self.resume
        if beside and not self.no_resume:
            return f"{self.output}.journal"
        for option, wanted in (("--function-version", self.function_version is not None), ("--durable", self.durable)):
            if wanted:
                raise Failure(f"{option} needs a journal: give -o FILE or --resume PATH", status=2)
        return None
