"""Which format a file has: what was said, else what its name says. A name that says another is refused with the cure.

Pure.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import Final, Literal

from fanmap._failure import CommandError

Kind = Literal["jsonl", "csv", "lines"]
_COMMA, _TAB = ",", "\t"


@dataclass(frozen=True, slots=True)
class Form:
    """A format; of CSV also what stands between two cells."""

    kind: Kind
    delimiter: str = _COMMA


_BY_NAME: Final[dict[str, Form]] = {
    ".jsonl": Form("jsonl"),
    ".ndjson": Form("jsonl"),
    ".csv": Form("csv"),
    ".tsv": Form("csv", _TAB),
    ".tab": Form("csv", _TAB),
}

_UNPACK: Final = "unpack it first"
_SHEET: Final = (
    "save it as CSV in the spreadsheet program, or: "
    "python -c 'import pandas; pandas.read_excel({file}).to_csv({csv}, index=False)'"
)
_COLUMNS: Final = (
    "convert it: python -c 'import pandas; pandas.read_{what}({file}).to_json({jsonl}, orient=\"records\", lines=True)'"
)
_READ_CURES: Final[dict[str, str]] = {
    ".json": "write one JSON value per line: jq -c '.[]' {shell} > {shell_jsonl}",
    ".xlsx": _SHEET,
    ".xlsm": _SHEET,
    ".xls": _SHEET,
    ".ods": _SHEET,
    ".parquet": _COLUMNS.replace("{what}", "parquet"),
    ".feather": _COLUMNS.replace("{what}", "feather"),
    ".arrow": _COLUMNS.replace("{what}", "feather"),
    ".gz": "gunzip -c {shell} | fanmap run ... - --input-format {inner}",
    ".zip": _UNPACK,
    ".bz2": _UNPACK,
    ".xz": _UNPACK,
    ".zst": _UNPACK,
    ".yaml": "convert it to JSONL",
    ".yml": "convert it to JSONL",
    ".xml": "convert it to JSONL",
}
_WRITE_CURES: Final[dict[str, str]] = {
    ".json": "write {jsonl}; jq -s . makes one array of it",
    ".xlsx": "write {csv}, which spreadsheet programs open",
    ".xls": "write {csv}, which spreadsheet programs open",
    ".xlsm": "write {csv}, which spreadsheet programs open",
    ".ods": "write {csv}, which spreadsheet programs open",
    ".parquet": "write {jsonl} and convert it",
    ".feather": "write {jsonl} and convert it",
    ".arrow": "write {jsonl} and convert it",
    ".yaml": "write {jsonl} and convert it",
    ".yml": "write {jsonl} and convert it",
    ".xml": "write {jsonl} and convert it",
    ".gz": "write {inner_name} and compress it",
    ".zip": "write {inner_name} and compress it",
    ".bz2": "write {inner_name} and compress it",
    ".xz": "write {inner_name} and compress it",
    ".zst": "write {inner_name} and compress it",
}


def input_form(path: str, said: Kind | None, delimiter: str | None) -> Form:
    """The format of INPUT; `-` and other descriptors have no name: lines.

    Raises:
        CommandError: its name says a format that is not read.
    """
    return _form(path, said, delimiter, "lines", "read", "--input-format", _READ_CURES)


def output_form(path: str | None, said: Kind | None, delimiter: str | None) -> Form:
    """The format of OUTPUT; None: standard output.

    Raises:
        CommandError: its name says a format that is not written.
    """
    return _form(path or "-", said, delimiter, "jsonl", "written", "--output-format", _WRITE_CURES)


def _form(
    path: str, said: Kind | None, delimiter: str | None, default: Kind, done: str, option: str, cures: dict[str, str]
) -> Form:
    suffix = os.path.splitext(path)[1].lower()
    by_name = _BY_NAME.get(suffix)
    if said is None and suffix in cures:
        raise CommandError(
            f"{path}: {suffix} files cannot be {done}: {_cure(cures[suffix], path)} (or use {option})", status=2
        )
    if said is None:
        form = by_name or Form(default)
    else:
        form = by_name if by_name is not None and by_name.kind == said else Form(said)
    return Form("csv", delimiter) if form.kind == "csv" and delimiter is not None else form


def _cure(text: str, path: str) -> str:
    stem = os.path.splitext(path)[0]
    inner = _BY_NAME.get(os.path.splitext(stem)[1].lower(), Form("lines"))
    names = {"file": path, "csv": f"{stem}.csv", "jsonl": f"{stem}.jsonl", "inner_name": stem}
    shell = {"shell": shlex.quote(path), "shell_jsonl": shlex.quote(f"{stem}.jsonl"), "inner": inner.kind}
    quoted = names if "python" not in text else {name: f'"{one}"' for name, one in names.items()}
    for name, one in {**quoted, **shell}.items():
        text = text.replace(f"{{{name}}}", one)
    return text
