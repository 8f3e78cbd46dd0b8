"""From a row and its outcome to a line of the output: JSONL or CSV.

Pure: text in, bytes out. Answers become JSON by the same shapes as in a journal.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from typing_extensions import override

from fanmap._failure import Failure
from fanmap._policy.shapes import shape_of
from fanmap._run.rows_in import Row, wrong


def plain_answers(annotation: Any) -> Callable[[Any], Any]:
    """What makes plain JSON of an answer: by what the function says it returns, else by what the answer is."""
    try:
        said = shape_of(annotation)
    except (TypeError, NameError):
        said = shape_of(Any)

    def plain(value: Any) -> Any:
        try:
            return said.dump(value)
        except (TypeError, ValueError):
            return shape_of(type(value)).dump(value)

    return plain


def told(error: BaseException) -> str:
    """A failure, for the error field: its type and what it says."""
    try:
        text = str(error)
    except Exception:  # a user's `__str__`
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Table:
    """What both formats have in common: the input's fields, then answer and error.

    Args:
        answer, error: the names of these two fields.
        plain: makes plain JSON of an answer.
        source: the name of the input, for messages.
    """

    def __init__(self, answer: str, error: str, plain: Callable[[Any], Any], source: str) -> None:
        if answer == error:
            raise Failure(f"--answer-field and --error-field are both {answer!r}", status=2)
        self._own = {answer: "--answer-field", error: "--error-field"}
        self._answer, self._error = answer, error
        self._plain = plain
        self._source = source

    def head(self, fields: Iterable[str], line: int) -> None:
        """The fields that rows will have, or that this row has.

        Raises:
            Failure: they have no place in the output.
        """
        for field in fields:
            if field in self._own:
                raise wrong(self._source, line, f"there is a field {field!r} already: say {self._own[field]} NAME")

    def admit(self, row: Row) -> None:
        """See a row before it is called; Failure as `head`."""
        self.head(row.fields, row.line)

    def begin(self) -> bytes:
        """What stands before the first row."""
        return b""

    def line(self, row: Row, value: Any, error: BaseException | None) -> bytes:
        """The row with its outcome.

        Raises:
            Failure: the answer has no JSON.
        """
        answer = None
        if error is None:
            try:
                answer = self._plain(value)
            except (TypeError, ValueError) as failure:
                raise Failure(
                    f"an answer of type {type(value).__name__} has no JSON ({failure}): return text, numbers, lists "
                    "or dicts, or annotate what the function returns",
                    status=1,
                ) from failure
        return self._line({**row.fields, self._answer: answer, self._error: None if error is None else told(error)})

    def _line(self, fields: dict[str, Any]) -> bytes:
        raise NotImplementedError


class JsonLines(Table):
    """An object a line."""

    @override
    def _line(self, fields: dict[str, Any]) -> bytes:
        try:
            return (json.dumps(fields, ensure_ascii=False) + "\n").encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only escape
            return (json.dumps(fields) + "\n").encode()


class Csv(Table):
    """A header, and a record a row. Its columns are those of all rows that were admitted before it began."""

    def __init__(self, answer: str, error: str, plain: Callable[[Any], Any], source: str) -> None:
        super().__init__(answer, error, plain, source)
        self._columns: dict[str, None] = {}
        self._begun = False

    @override
    def head(self, fields: Iterable[str], line: int) -> None:
        super().head(fields, line)
        for field in fields:
            if self._begun and field not in self._columns:
                raise wrong(self._source, line, f"the field {field!r} is not in the CSV's header: write JSONL")
            self._columns[field] = None

    @override
    def begin(self) -> bytes:
        self._begun = True
        return _record((*self._columns, self._answer, self._error))

    @override
    def _line(self, fields: dict[str, Any]) -> bytes:
        return _record(_cell(fields.get(name)) for name in (*self._columns, self._answer, self._error))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _record(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)  # ends in \r\n: with another ending, a \r within a cell was not quoted
    return (text.getvalue()[:-2] + "\n").encode("utf-8", "backslashreplace")
