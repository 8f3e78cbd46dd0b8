"""What a server says in a body: its JSON objects, and its own words.

Pure: no clock, no I/O. It must not know what a code means (`signals`), or a word (`words`). A body comes parsed, as
text, as JSON within a text within JSON (gateways pass on what the provider behind them said), or as a Python dict's
repr within a message (what clients make of one). Words are taken only from the fields that servers put messages of
their own into, so that a prompt that a body gives back is never read as the server's word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import cast

from fanmap._policy.failures.quotations import own_words
from fanmap._policy.failures.rpc import unpack
from fanmap._policy.foreign import as_record

Record = dict[object, object]
"""An object of JSON."""

_LONGEST_TEXT = 65_536
"""Characters of a body that are read: an error is short, a proxy's HTML page need not be parsed."""

_LONGEST_WORDS = 8192
"""Characters of messages after which no further one is looked at."""

_MOST_PARTS = 64
"""Objects, lists and texts of a body that are looked at."""

_WORDS = (
    "message", "Message", "msg", "error_message", "errorMessage", "error_msg", "error", "Error", "errors", "detail",
    "details", "title", "description", "raw",
)  # fmt: skip
"""Where a body keeps words for people, or the next object: OpenAI, Anthropic and Google `error.message`, botocore
`Error.Message`, FastAPI `detail`, RFC 9457 `title`, Google `errors`, `details`, `violations[].description`,
OpenRouter `metadata.raw`. Not among them: `input`, `flagged_input` and whatever else repeats the request."""

_OBJECTS = ("metadata", "violations", "body")
"""Where the next object is kept, and no words: OpenRouter, google.rpc.ErrorInfo; QuotaFailure; gateways."""

# A text that was escaped once more, in the middle of another: `Upstream said {\"error\": ...}`.
_ESCAPED = re.compile(r'[{\[]\s*\\"')
_ESCAPE = re.compile(r'\\(["\\])')

# A body that is no JSON, as far as it goes: cut short, the repr of a dict, the repr of bytes.
_FIELD = re.compile(
    r"""["'](message|error|detail|code|type|status|reason|error_code|quotaId|quotaMetric|retryDelay|retry_after"""
    r"""|estimated_time)["']\s*:\s*"""
    r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(-?\d{1,15}(?:\.\d{1,20})?)\b)"""
)


def read_body(documents: Iterable[object]) -> tuple[tuple[Record, ...], str]:
    """Take documents apart.

    Args:
        documents: bodies, parsed or not, and what the client's own attributes hold of them.

    Returns:
        The JSON objects, outermost first, and every message, one a line.
    """
    records: list[Record] = []
    words: list[str] = []
    queue = [(document, True) for document in documents]  # each with: are its texts the server's words?
    budget = _MOST_PARTS  # also what ends a document that contains itself
    at = length = 0
    while at < len(queue) and budget:
        part, spoken = queue[at]
        at += 1
        if part is None:
            continue
        budget -= 1
        if isinstance(part, (str, bytes, bytearray)):
            prose, values = _parsed(part)
            if spoken and prose and length < _LONGEST_WORDS:
                words.append(own_words(prose))
                length += len(words[-1])
            queue.extend((value, spoken) for value in values)
        elif isinstance(part, (list, tuple)):
            queue.extend((member, spoken) for member in islice(cast("list[object]", part), _MOST_PARTS))
        elif (record := _record(part)) is not None:
            records.append(record)
            queue.extend((record[name], True) for name in _WORDS if name in record)
            queue.extend((record[name], False) for name in _OBJECTS if name in record)
    return tuple(records), "\n".join(words)


def _record(part: object) -> Record | None:
    record = as_record(part)
    return unpack(part) if record is None else record


def _parsed(text: str | bytes | bytearray) -> tuple[str, list[object]]:
    """The words of a text, and the values of the JSON within it."""
    if isinstance(text, (bytes, bytearray)):
        text = text[:_LONGEST_TEXT].decode("utf-8", "replace")
    text = text[:_LONGEST_TEXT].strip()
    if text.startswith("<"):  # a proxy's page: it says nothing that could be relied on
        return "", []
    if text.startswith('"'):  # JSON that was made a JSON string once more
        with suppress(ValueError):
            return "", [json.loads(text)]
    decoded = _decoded(text)
    if decoded is None and _ESCAPED.search(text):
        decoded = _decoded(_ESCAPE.sub(r"\1", text))
    if decoded is not None:
        return decoded
    fields: list[object] = list(_fields(text)) if "{" in text else []
    if not fields:
        return text, []
    return f"{text[: text.find('{')]} {text.rpartition('}')[2] if '}' in text else ''}".strip(), fields


def _decoded(text: str) -> tuple[str, list[object]] | None:
    """What stands around a value, and the value; None: there is none."""
    for start in sorted(at for at in (text.find("{"), text.find("[")) if at >= 0):
        try:
            value, end = cast("tuple[object, int]", json.JSONDecoder().raw_decode(text, start))
        except (ValueError, RecursionError):
            continue
        return f"{text[:start]} {text[end:]}".strip(), [value]
    return None


def _fields(text: str) -> Iterator[Record]:
    for found in _FIELD.finditer(text):
        name, double, single, number = found.groups()
        yield {name: number or (single or "") + (double or "")}
