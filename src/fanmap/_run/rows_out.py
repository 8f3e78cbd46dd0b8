"""From a row and its outcome to a line of the output: JSONL or CSV.

Pure: values in, bytes out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Final

from typing_extensions import override

from fanmap._failure import CommandError
from fanmap._raw import text_of, type_name
from fanmap._run.answers import finite
from fanmap._run.rows_in import Row
from fanmap._run.texts import wrong

# What a spreadsheet program takes for the beginning of a formula, in their wide forms too (OWASP, CSV Injection).
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001


def error_text(error: BaseException) -> str:
    """A failure, for the error field: its type and what it says."""
    text = text_of(error)
    return f"{type_name(error)}: {text}" if text else type_name(error)


class Table:
    """What both formats have in common: the input's fields, then answer and error.

    Args:
        answer, error: the names of these two fields.
        source: the name of the input, for messages.
    """

    def __init__(self, answer: str, error: str, source: str) -> None:
        if answer == error:
            raise CommandError(f"--answer-field and --error-field are both {answer!r}", status=2)
        self._own = {answer: "--answer-field", error: "--error-field"}
        self._answer, self._error = answer, error
        self._source = source

    def head(self, fields: Iterable[str], line: int) -> None:
        """The fields that rows will have, or that this row has.

        Raises:
            CommandError: they have no place in the output.
        """
        for field in fields:
            if field in self._own:
                raise wrong(self._source, line, f"the input already has a field {field!r}: use {self._own[field]} NAME")

    def admit(self, row: Row) -> None:
        """See a row before it is called; CommandError as `head`."""
        self.head(row.fields, row.line)

    def begin(self) -> bytes:
        """What stands before the first row."""
        return b""

    def line(self, row: Row, answer: Any, error: BaseException | None) -> bytes:
        """The row with its outcome; the answer is plain JSON."""
        return self._line(row.fields, answer, None if error is None else error_text(error))

    def _line(self, fields: dict[str, Any], answer: Any, error: str | None) -> bytes:
        raise NotImplementedError


class JsonLines(Table):
    """An object a line."""

    @override
    def _line(self, fields: dict[str, Any], answer: Any, error: str | None) -> bytes:
        text = _json({**fields, self._answer: answer, self._error: error})
        try:
            return (text + "\n").encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only escape
            return (json.dumps(json.loads(text)) + "\n").encode()


class Csv(Table):
    """A header, and a record a row. Its columns are those of all rows that were admitted before it began.

    Args:
        answer, error, source: as above.
        delimiter: what stands between two cells.
        safe: keep a spreadsheet program from taking an answer or an error for a formula.
    """

    def __init__(self, answer: str, error: str, source: str, *, delimiter: str, safe: bool) -> None:
        super().__init__(answer, error, source)
        self._delimiter, self._safe = delimiter, safe
        self._columns: dict[str, None] = {}
        self._begun = False

    @override
    def head(self, fields: Iterable[str], line: int) -> None:
        super().head(fields, line)
        for field in fields:
            if self._begun and field not in self._columns:
                raise wrong(self._source, line, f"the field {field!r} is not in the CSV header: write JSONL")
            self._columns[field] = None

    @override
    def begin(self) -> bytes:
        self._begun = True
        return self._record((*self._columns, self._answer, self._error))

    @override
    def _line(self, fields: dict[str, Any], answer: Any, error: str | None) -> bytes:
        cells = [_cell(fields.get(name)) for name in self._columns]
        return self._record((*cells, self._own_cell(answer), self._own_cell(error)))

    def _own_cell(self, value: Any) -> str:
        if self._safe and isinstance(value, str) and value.startswith(_FORMULA):
            return f"'{value}"
        return _cell(value)

    def _record(self, cells: Iterable[str]) -> bytes:
        text = io.StringIO()
        # It ends in \r\n: with another ending, a \r within a cell was not quoted.
        csv.writer(text, delimiter=self._delimiter).writerow(cells)
        return (text.getvalue()[:-2] + "\n").encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:  # NaN or infinity, which Python reads and JSON has not
        return json.dumps(finite(value), ensure_ascii=False, allow_nan=False)
