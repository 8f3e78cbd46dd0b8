"""From lines of text to JSON values, one a line. A file that is JSON in another layout is refused with the `jq` line.

Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, cast

from fanmap._run.texts import without_mark, wrong

_ONE_A_LINE: Final = "`jq -c .` writes one value per line"
_ROWS: Final = "`jq -c '.[]'` writes its members one per line"
_DEEPEST: Final = 100  # levels: what looks at a value does so by recursion


def values(texts: Iterator[str], name: str) -> Iterator[tuple[int, Any]]:
    """The values, each with its line; lines of spaces are Ellipsis.

    Raises:
        CommandError: a line is no JSON value, an object has a key twice, or all of the input is one array.
    """
    alone: tuple[int, list[Any]] | None = None  # a first value that is a list, until there is another
    began = False
    for number, text in enumerate(texts, 1):
        if not text.strip():
            yield number, ...
            continue
        value = _value(without_mark(text).rstrip(), name, number)
        if not began and isinstance(value, list):
            alone = number, cast("list[Any]", value)
        else:
            if alone is not None:
                yield alone
                alone = None
            yield number, value
        began = True
    if alone is not None:
        raise wrong(
            name,
            alone[0],
            f"the input is one JSON array: {_ROWS}; to pass an array as one argument, write "
            '{"NAME": [...]} with the name of the parameter',
        )


class _Twice(Exception):
    """An object has this key twice."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _Twice(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return members


def _value(text: str, name: str, number: int) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_members)
        if text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST:
            raise RecursionError
    except json.JSONDecodeError as error:
        raise wrong(name, number, f"not JSON: {error.msg} (column {error.colno}){_cure(text, error)}") from error
    except _Twice as error:
        raise wrong(name, number, f"the key {error.args[0]!r} is there twice: which of its values counts?") from None
    except RecursionError:
        raise wrong(name, number, f"nested more than {_DEEPEST} levels deep") from None
    except ValueError as error:  # a number of thousands of digits
        raise wrong(name, number, f"not JSON: {error}") from error
    return value


def _cure(text: str, error: json.JSONDecodeError) -> str:
    rest = text[error.pos :].strip()
    if error.msg == "Extra data":
        if rest.startswith(","):
            return ": remove the comma after the value"
        return f": several values on one line; {_ROWS if text.lstrip().startswith('[') else _ONE_A_LINE}"
    if not rest and text.lstrip()[:1] in ("[", "{"):  # the line ends within a value
        cure = _ROWS if text.lstrip().startswith("[") else _ONE_A_LINE
        return f": does a value span several lines? {cure}"
    return ""


def _depth(value: Any) -> int:
    deepest = 0
    level: list[Any] = [value]
    while level:
        deepest += 1
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += cast("dict[str, Any]", one).values()
            elif isinstance(one, list):
                inner += cast("list[Any]", one)
        level = [one for one in inner if isinstance(one, (dict, list))]
    return deepest
