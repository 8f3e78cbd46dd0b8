"""The words of `fanmap run`: names, help, and values that cannot be right.

Only argparse is imported here, because every command's `--help` comes by.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

_ABOUT = """Run a function over every row of a file, many calls at once. A line, or a JSON value that is not an
object, is the function's one argument. The fields of an object or a CSV row go to the parameters of the same names.
The output has the rows in input order, with the fields "answer" and "error" added. With -o FILE, answers are kept in
FILE.journal as they come: rerun the same command to retry only what is missing or failed."""
_STATUSES = """exit status: 0 every row has its answer; 1 some failed or were not run; 2 wrong usage or input; 130
stopped by Ctrl-C (143 by SIGTERM, 129 by SIGHUP). The first Ctrl-C lets in-flight calls finish, the second exits
now."""


def add_run(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:  # pyright: ignore[reportPrivateUsage]
    """Add the command to the others."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run", help="run your function over a file", description=_ABOUT, epilog=_STATUSES
    )
    add = parser.add_argument
    add("function", metavar="MODULE:FUNCTION", help="for instance job:ask, for `ask` in ./job.py")
    add("input", metavar="INPUT", help="JSONL (.jsonl, .ndjson), CSV (.csv, .tsv) or lines; - is standard input")
    add("-o", "--output", metavar="OUTPUT", help="CSV (.csv, .tsv) or JSONL (default: standard output)")
    add("--input-format", choices=("jsonl", "csv", "lines"), help="override the format inferred from the file name")
    add("--output-format", choices=("jsonl", "csv"), help="override the format inferred from the file name")
    add(
        "--delimiter",
        metavar="CHAR",
        type=_delimiter,
        help="CSV separator, for input and output: one character, or tab",
    )
    add("--safe-csv", action="store_true", help="quote answers that a spreadsheet program would run as formulas")
    add(
        "--map", metavar="FIELD=ARGUMENT", action="append", default=[], type=_pair, dest="mapping",
        help="pass only this field, as this argument; may be repeated",
    )  # fmt: skip
    add("--answer-field", metavar="NAME", default="answer", help="output field for the answer (default: answer)")
    add("--error-field", metavar="NAME", default="error", help="output field for the error (default: error)")
    add("--limit", metavar="N", type=_count, help="process only the first N rows")
    add("--max-concurrency", metavar="N", type=_concurrency, help="calls at once: a number, or auto (default: 8)")
    add("--processes", metavar="N", type=_count, help="use N worker processes, all under the same limits")
    add("--rpm", metavar="N", type=_per_minute("rpm"), help="calls per minute, at most")
    add("--tpm", metavar="N", type=_per_minute("tpm"), help="tokens per minute, at most")
    add(
        "--max-spend", metavar="DOLLARS", type=positive, help="stop before the calls cost more than this, in US dollars"
    )
    add(
        "--max-wait", metavar="SECONDS", type=positive,
        help="stop when the server keeps all calls waiting for longer than this (default: 300)",
    )  # fmt: skip
    add("--retry", metavar="N", type=_retry, help="attempts per row, including the first; off: never retry")
    add("--deadline", metavar="SECONDS", type=positive, help="stop after this many seconds")
    add("--max-failures", metavar="N", type=_count, help="stop after this many failed rows")
    add("--resume", metavar="PATH", help="keep answers in this file (default: OUTPUT.journal)")
    add("--no-resume", action="store_true", help="keep no journal, and call for every row")
    add("--function-version", metavar="TEXT", help="ignore answers that were kept under another version")
    add("--batch", action="store_true", help="send the calls through the provider's batch interface, at half the price")
    add(
        "--endpoint", metavar="URL", action="append", default=[], type=_url, dest="endpoints",
        help="with --batch, a server that accepts batches besides the providers' own; may be repeated",
    )  # fmt: skip
    add("--only", action="store_true", help="with --batch, send nothing that cannot travel in a batch: stop instead")
    add(
        "--poll", metavar="SECONDS", type=positive,
        help="with --batch, seconds between looks at the batches (default: 5, growing to 300)",
    )  # fmt: skip
    add("--trace", metavar="PATH", help="write a trace of the run: a page (.html) or trace events (.json)")
    add("--durable", action="store_true", help="flush every answer to disk, so that it survives a power failure")
    add("--quiet", action="store_true", help="only report errors")
    return parser


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _per_minute(name: str) -> Callable[[str], float]:
    def number(text: str) -> float:
        if text == "auto":
            line = f'@parallel_map({name}="auto")'
            raise argparse.ArgumentTypeError(f"must be a number above 0, got 'auto': decorate the function with {line}")
        return positive(text)

    return number


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


def _delimiter(text: str) -> str:
    one = "\t" if text in ("tab", "\\t") else text
    if len(one) != 1 or one.isalnum() or one in '"\r\n\0 ':
        raise argparse.ArgumentTypeError(f"must be one character that separates cells, or tab, got {text!r}")
    return one


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"must be a URL such as http://host/v1, got {text!r}")
    return text


def _pair(text: str) -> tuple[str, str]:
    field, equals, argument = text.rpartition("=")
    if not (field and equals and argument.isidentifier()):
        raise argparse.ArgumentTypeError(f"must be FIELD=ARGUMENT, for instance question=prompt, got {text!r}")
    return field, argument
