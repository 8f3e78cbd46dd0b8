"""From lines of text to the records of a CSV file: a header, then as many cells.

Pure. A file that is cut at another character than the one in use would be a file of one column, and each whole line
a prompt to be paid for: it is refused before its first row.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from fanmap._run.texts import wrong

_LONGEST: Final = 2**31 - 1  # characters of a cell; the csv module's own bound, 131,072, is less than a long prompt
_DELIMITERS: Final = (";", "\t", "|", ",")
_HINT: Final = "sep="  # a first line that a spreadsheet program writes for another


def records(
    texts: Iterator[str], name: str, delimiter: str, head: Callable[[list[str], int], None]
) -> Iterator[tuple[int, list[str], list[str]]]:
    """The records: line, header, cells; those that are wholly empty too.

    Args:
        head: told the header, and its line.

    Raises:
        CommandError: it cannot be read, or not with this delimiter.
    """
    csv.field_size_limit(_LONGEST)
    kept = _Kept(texts)
    reader = csv.reader(kept, strict=True, delimiter=delimiter)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if header is None:
                _check_delimiter(kept.lines, delimiter, name, line)
            raise wrong(name, line, f"not CSV: {_plainer(str(error))}") from error
        if header is None:
            if kept.lines[-1].lower().startswith(_HINT):
                _check_hint(kept.lines[-1], delimiter, name, line)
            elif _is_empty(cells):
                kept.lines.clear()
                yield line, [], cells
            else:
                _check_header(cells, kept.lines, delimiter, name, line)
                head(cells, line)
                header, kept.keep = cells, False
            kept.lines.clear()
        elif cells and len(cells) != len(header) and not _is_empty(cells):
            raise wrong(name, line, f"{len(cells)} columns, but the header has {len(header)}")
        else:
            yield line, header, cells


def _is_empty(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)


class _Kept:
    """Lines, kept as they were read for as long as the header is not known."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self.keep = True
        self.lines: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._texts)
        if self.keep:
            self.lines.append(line)
        return line


def _check_hint(line: str, delimiter: str, name: str, number: int) -> None:
    said = line[len(_HINT) :][:1]
    if said in _DELIMITERS and said != delimiter:
        raise wrong(name, number, f"its cells are separated by {shown(said)}: use --delimiter {shown(said)}")


def _check_header(cells: list[str], lines: list[str], delimiter: str, name: str, number: int) -> None:
    counts = Counter(cells)
    again = {cell for cell, count in counts.items() if count > 1}
    if again == {""}:
        raise wrong(name, number, f"{counts['']} columns without a name: name them, or remove them")
    if again:
        raise wrong(name, number, f"two columns with the name {min(again)!r}")
    if len(cells) == 1:
        _check_delimiter(lines, delimiter, name, number)


def _check_delimiter(lines: list[str], delimiter: str, name: str, number: int) -> None:
    for other in _DELIMITERS:
        if other == delimiter:
            continue
        try:
            cells = next(csv.reader(iter(lines), strict=True, delimiter=other))
        except csv.Error:
            continue
        if len(cells) > 1:
            raise wrong(
                name,
                number,
                f"{shown(other)} seems to separate the columns: use --delimiter {shown(other)}, or put the header "
                "in double quotes if it is one column",
            )


def _plainer(said: str) -> str:
    if said.startswith("new-line character seen in unquoted field"):
        return "a carriage return in an unquoted cell; `tr '\\r' '\\n'` fixes lines that end in one"
    return said


def shown(delimiter: str) -> str:
    """A delimiter as it is written in a shell."""
    return "tab" if delimiter == "\t" else f"'{delimiter}'"
