"""The words of `fanmap run`: names, help, and values that cannot be right.

Only argparse is imported here, because every command's `--help` comes by.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

_ABOUT = """Run a function over every row of a file, many calls at once. A line, or a JSON value that is not an
object, is the function's one argument; of an object or a CSV row, the fields that have the names of parameters are
passed by name. Each row comes out in its place, with the fields "answer" and "error" added. With -o FILE, answers
are kept in FILE.journal as they come: the same command again asks only for what is missing or failed."""
_STATUSES = """exit status: 0 all answered; 1 some failed or were not run; 2 wrong usage or input; 130
stopped by Ctrl-C. The first Ctrl-C lets calls under way end, the second leaves at once."""


def add_run(commands: argparse._SubParsersAction[Any]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the command to the others."""
    add = commands.add_parser(
        "run", help="run your function over a file", description=_ABOUT, epilog=_STATUSES
    ).add_argument
    add("function", metavar="MODULE:FUNCTION", help="for instance job:ask, for `ask` in ./job.py")
    add("input", metavar="INPUT", help="JSONL (.jsonl, .ndjson), CSV (.csv) or lines; - is standard input")
    add("-o", "--output", metavar="OUTPUT", help="CSV (.csv) or JSONL; - or none: standard output")
    add("--input-format", choices=("jsonl", "csv", "lines"), help="whatever the name of INPUT says")
    add("--output-format", choices=("jsonl", "csv"), help="whatever the name of OUTPUT says")
    add(
        "--map", metavar="FIELD=ARGUMENT", action="append", default=[], type=_pair, dest="mapping",
        help="pass this field as that argument, and no others; may be repeated",
    )  # fmt: skip
    add("--answer-field", metavar="NAME", default="answer", help="instead of answer")
    add("--error-field", metavar="NAME", default="error", help="instead of error")
    add("--limit", metavar="N", type=_count, help="only the first N rows, for a trial")
    add("--max-concurrency", metavar="N", type=_concurrency, help="calls at once: a number, or auto (default: 8)")
    add("--rpm", metavar="N", type=positive, help="calls that start in a minute, at most")
    add("--tpm", metavar="N", type=positive, help="tokens in a minute, at most")
    add("--retry", metavar="N", type=_retry, help="attempts for each row, the first included; off: never repeat")
    add("--deadline", metavar="SECONDS", type=positive, help="stop after so long")
    add("--resume", metavar="PATH", help="keep answers there (default: OUTPUT.journal)")
    add("--no-resume", action="store_true", help="keep no answers, call for every row")
    add("--function-version", metavar="TEXT", help="answers kept under another version are not used")
    add("--durable", action="store_true", help="kept answers survive a power failure, too")
    add("--quiet", action="store_true", help="say nothing but what went wrong")


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return value


def _or_word(word: str, what: Any) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if text == word:
            return what
        try:
            return _count(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"must be a whole number above 0 or {word}, got {text!r}") from error

    return parse


_concurrency = _or_word("auto", "auto")
_retry = _or_word("off", False)


def _pair(text: str) -> tuple[str, str]:
    field, equals, argument = text.rpartition("=")
    if not (field and equals and argument.isidentifier()):
        raise argparse.ArgumentTypeError(f"must be FIELD=ARGUMENT, for instance question=prompt, got {text!r}")
    return field, argument
