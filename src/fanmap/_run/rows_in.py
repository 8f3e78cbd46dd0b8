"""From lines of bytes to rows: JSONL, CSV, plain lines.

Pure: opens nothing. Lazy: one row at a time. What cannot be read is a CommandError that names the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from fanmap._run.csv_in import records
from fanmap._run.formats import Form
from fanmap._run.json_in import values
from fanmap._run.texts import texts, without_mark, wrong

Head = Callable[[list[str], int], None]
ONLY: Final = "input"  # the field of a row that is one value


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


def read(lines: Iterable[bytes], form: Form, name: str, head: Head, left_out: Callable[[int], None]) -> Iterator[Row]:
    """The rows of these lines.

    Args:
        name: of the input, for messages.
        head: told the fields that every row will have, and the line that says so; not by JSONL, which does not say.
        left_out: told the line of each row that is empty: nothing but spaces, or cells without text.

    Raises:
        CommandError: a line cannot be read.
    """
    decoded = texts(lines, name)
    if form.kind == "jsonl":
        return _json_rows(values(decoded, name), left_out)
    if form.kind == "csv":
        return _csv_rows(records(decoded, name, form.delimiter, head), left_out)
    return _line_rows(decoded, name, head, left_out)


def _line_rows(decoded: Iterator[str], name: str, head: Head, left_out: Callable[[int], None]) -> Iterator[Row]:
    head([ONLY], 1)
    for number, line in enumerate(decoded, 1):
        text = without_mark(line).rstrip("\r\n")
        if not text.strip():
            left_out(number)
        elif "\r" in text:
            raise wrong(name, number, "a carriage return in the line; `tr '\\r' '\\n'` fixes lines that end in one")
        else:
            yield Row(number, {ONLY: text}, single=True)


def _json_rows(found: Iterator[tuple[int, Any]], left_out: Callable[[int], None]) -> Iterator[Row]:
    for number, value in found:
        if value is ...:
            left_out(number)
        elif isinstance(value, dict):
            yield Row(number, cast("dict[str, Any]", value))
        else:
            yield Row(number, {ONLY: value}, single=True)


def _csv_rows(found: Iterator[tuple[int, list[str], list[str]]], left_out: Callable[[int], None]) -> Iterator[Row]:
    for number, header, cells in found:
        if any(cell.strip() for cell in cells):
            yield Row(number, dict(zip(header, cells, strict=True)))
        else:
            left_out(number)
