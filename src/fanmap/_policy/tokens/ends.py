"""Members of a JSON object found from its ends, without parsing what is between.

Pure. An answer of ten megabytes tells its model near its beginning and its usage near its end, and what a model has
written in between may look like either: in its text, or in the arguments of a tool, which are JSON themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

_MOST_TRIES = 64
_DECODER = json.JSONDecoder()

# A string or one byte of structure. The last string may be cut off; it is taken to the end of the data, so that what is
# in it is not tried again from each of its quotes.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]:]', re.DOTALL)


def last_members(data: bytes, name: bytes, *, nested: bool) -> Mapping[str, object] | None:
    """What an object has from its last member of this name on, that one included; None: it has none.

    Such a member, and what follows it, is an object again where a brace is put before it; one deeper inside would
    leave a bracket over. Within a string its quotes would be escaped, so that it is not found there.

    Args:
        data: ends where the object does; may begin anywhere in it.
        name: of the member, in quotes.
        nested: it may also be one level down, in another object's member or in an array.
    """
    at = len(data)
    for _ in range(_MOST_TRIES):
        at = data.rfind(name, 0, at)
        if at < 0:
            break
        if data[at + len(name) : at + len(name) + 8].lstrip()[:1] == b":":
            text = "{" + data[at:].decode("utf-8", "replace")
            try:
                members, end = _DECODER.raw_decode(text)
            except (ValueError, RecursionError):
                continue
            rest = text[end:].strip()
            if not rest or (nested and _closes(rest)):
                return cast("dict[str, object]", members)
    return None


def _closes(rest: str) -> bool:
    """Does this end one object or array, begun before?"""
    for begun in ('{"":0', "[0"):
        try:
            json.loads(begun + rest)
        except (ValueError, RecursionError):
            continue
        return True
    return False


def first_members(head: bytes, names: Sequence[str], depths: range) -> Iterator[tuple[str, object]]:
    """The members of these names in the beginning of an object, in order; depth 1 is the object's own."""
    if not any(b'"%b"' % name.encode() in head for name in names):
        return  # a look at each token takes a second for each megabyte
    depth, key = 0, b""
    for match in _TOKENS.finditer(head):
        token = match[0]
        if token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
        elif token == b":":
            name = key[1:-1].decode("utf-8", "replace") if depth in depths else ""
            if name in names:
                try:
                    value: object = _DECODER.raw_decode(head[match.end() :].decode("utf-8", "replace").lstrip())[0]
                except (ValueError, RecursionError):  # cut off, or no JSON
                    continue
                yield name, value
        else:
            key = token
