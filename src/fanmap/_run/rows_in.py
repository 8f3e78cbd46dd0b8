"""From lines of bytes to rows: JSONL, CSV, plain lines.

Pure: opens nothing. Lazy: one row at a time. What cannot be read is a Failure that names the line.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from fanmap._failure import Failure

Format = Literal["jsonl", "csv", "lines"]
Head = Callable[[list[str], int], None]
ONLY = "input"  # the field of a row that is one value

_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_NEITHER = (".json", ".tsv", ".xlsx", ".parquet", ".yaml", ".yml", ".xml", ".gz")
_BOM = b"\xef\xbb\xbf"
_LONGEST = 2**31 - 1  # characters of a CSV field; the csv module's own bound, 131,072, is less than a long prompt


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input.

    Attributes:
        line: where it begins, from 1.
        fields: by name, in their order.
        single: it is one value, in the field `input`, and not an object.
    """

    line: int
    fields: dict[str, Any]
    single: bool = False


def format_of(path: str) -> Format:
    """What the file's name says.

    Raises:
        Failure: it says something that would be wrong as lines.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _NEITHER:
        raise Failure(f"{path}: {suffix} is not read; give JSONL, CSV or lines, or say --input-format", status=2)
    return _FORMATS.get(suffix, "lines")


def read(lines: Iterable[bytes], form: Format, name: str, head: Head) -> Iterator[Row]:
    """The rows of these lines; blank lines are left out.

    Args:
        head: told the fields that every row will have, and the line that says so; not by JSONL, which does not say.

    Raises:
        Failure: a line cannot be read.
    """
    texts = _texts(lines, name)
    if form == "jsonl":
        return _json_rows(texts, name)
    return _csv_rows(texts, name, head) if form == "csv" else _line_rows(texts, head)


def wrong(name: str, line: int, why: str) -> Failure:
    """The failure that names a line."""
    return Failure(f"{name}, line {line}: {why}", status=2)


def _texts(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(_BOM)
        if b"\0" in line:
            raise wrong(name, number, "a NUL character: this is not text")
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise wrong(name, number, f"not UTF-8 (byte {error.start + 1} of the line)") from error


def _line_rows(texts: Iterator[str], head: Head) -> Iterator[Row]:
    head([ONLY], 1)
    for number, text in enumerate(texts, 1):
        if text.strip():
            yield Row(number, {ONLY: text.rstrip("\r\n")}, single=True)


def _json_rows(texts: Iterator[str], name: str) -> Iterator[Row]:
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            said = f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else str(error)
            raise wrong(name, number, f"not JSON: {said}") from error
        if isinstance(value, dict):
            yield Row(number, cast("dict[str, Any]", value))
        else:
            yield Row(number, {ONLY: value}, single=True)


def _csv_rows(texts: Iterator[str], name: str, head: Head) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(texts, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise wrong(name, line, f"not CSV: {error}") from error
        if not cells:
            continue
        if header is None:
            header = cells
            again = {field for field in header if header.count(field) > 1}
            if again:
                raise wrong(name, line, f"two columns with the name {min(again)!r}")
            head(header, line)
        elif len(cells) != len(header):
            raise wrong(name, line, f"{len(cells)} columns, and the header has {len(header)}")
        else:
            yield Row(line, dict(zip(header, cells, strict=True)))
