"""The rows of a run: read from the input, made calls, and kept in order until each has its outcome."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from fanmap._inputs import afresh
from fanmap._run.calling import Call, Calls
from fanmap._run.formats import Form
from fanmap._run.rows_in import Row, read
from fanmap._run.rows_out import Table
from fanmap._run.source import Source, from_thread


class LeftOut:
    """Rows that are empty, and are neither called nor written.

    Attributes:
        header: the line of the header; 0: none was seen.
    """

    def __init__(self) -> None:
        self.header = 0
        self._count = 0
        self._first = 0

    def add(self, line: int) -> None:
        """The next one, at this line."""
        self._first = self._first or line
        self._count += 1

    def __str__(self) -> str:
        """What is said of them; nothing where there are none."""
        if not self._count:
            return ""
        header = f"; the header is line {self.header}" if self.header > self._first else ""
        if self._count == 1:
            return f"1 empty row left out (line {self._first}){header}"
        return f"{self._count} empty rows left out (the first is line {self._first}){header}"


class Rows:
    """The rows of the input and their calls, in order, and those that have no outcome yet.

    Attributes:
        again: the input can be read twice.
        taken: rows without an outcome, the first one first.
        exhausted: every row was taken.
        head: what stands before the first row of the output; None: not known before a row was taken.
        left_out: the empty rows so far.
    """

    def __init__(self, source: Source, form: Form, limit: int | None, table: Table, calls: Calls) -> None:
        self._source, self._limit = source, limit
        self._form = form
        self._table, self._calls = table, calls
        self.again = source.path is not None
        self.taken: deque[Row] = deque()
        self.exhausted = False
        self.head: bytes | None = None
        self.left_out = LeftOut()

    def check(self) -> int:
        """Read all of it once; the number of its rows.

        Raises:
            CommandError: a row cannot be read, called, or written.
        """
        count = 0
        for row in self._rows():
            self._table.admit(row)
            self._calls.of(row)
            count += 1
        self.head = self._table.begin()
        return count

    def calls(self) -> Iterator[Call] | AsyncIterator[Call]:
        """The calls, as the run takes them; of a pipe, awaited."""
        return self._of_file() if self.again else self._of_pipe()

    def _rows(self) -> Iterator[Row]:
        self.left_out = LeftOut()
        rows = read(self._source.lines(), self._form, self._source.name, self._head, self.left_out.add)
        return itertools.islice(rows, self._limit)

    def _head(self, fields: list[str], line: int) -> None:
        self.left_out.header = line
        self._table.head(fields, line)

    def _of_file(self) -> Iterator[Call]:
        for row in self._rows():
            yield self._take(row)
        self.exhausted = True

    async def _of_pipe(self) -> AsyncIterator[Call]:
        async for row in from_thread(self._rows()):
            yield self._take(row)
        self.exhausted = True

    def _take(self, row: Row) -> Call:
        self._table.admit(row)
        call = self._calls.of(row)
        if self.head is None:
            self.head = self._table.begin()
        self.taken.append(_out_of_reach(row))
        return call


def _out_of_reach(row: Row) -> Row:
    """The row with lists and dicts of its own: a function may add its answer to the messages that it is given."""
    if not any(isinstance(value, (list, dict)) for value in row.fields.values()):
        return row
    return replace(row, fields=afresh(row.fields))
