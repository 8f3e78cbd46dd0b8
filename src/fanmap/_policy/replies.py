"""What a client's exception carries, wherever this client keeps it.

Pure: reads attributes, calls nothing of the client's but `.items()` of its headers, does no I/O.
It must not know what a status or a code means (`signals`), nor what a wait is (`waits`). No client
is imported: openai and anthropic moved from httpx to httpx2 and kept their attributes, so shapes
are what is recognised. Foreign attributes are properties that may raise: `peek` says None instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import cast

_LONGEST_TEXT = 65_536
"""Characters of a body that are read: an error is short, a proxy's HTML page need not be parsed."""

_MOST_RECORDS = 64
"""JSON objects of a body that are looked at."""

_MOST_HEADERS = 256

_NESTED = ("error", "Error", "errors", "details")
"""Where error bodies keep the next object: OpenAI and Anthropic `error`, botocore `Error`, Google
`errors` and `error.details`, Anthropic `error.details`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer as far as the exception tells it.

    Attributes:
        status: HTTP status, None where there was none.
        headers: by name in lower case; equal names are joined with `, ` as HTTP has it.
        records: the JSON objects of the body, outermost first.
        codes: every code and type the server named, in lower case.
        text: every message, one a line.
    """

    status: int | None
    headers: dict[str, str]
    records: tuple[Mapping[object, object], ...]
    codes: frozenset[str]
    text: str


def peek(source: object, name: str) -> object:
    """The attribute, or None where there is none or it raises."""
    try:
        return getattr(source, name, None)
    except Exception:
        return None


def mapping(value: object) -> Mapping[object, object] | None:
    """The value if it is a mapping."""
    return cast("Mapping[object, object]", value) if isinstance(value, Mapping) else None


def whole(value: object) -> int | None:
    """The value if it is an int and no bool."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def read_reply(error: BaseException) -> Reply:
    """Gather what the exception says about the server's answer."""
    response = peek(error, "response")
    if response is None:  # never `if not response`: bool(requests.Response) is False for a 429
        response = peek(error, "raw_response")
    aws = mapping(response)
    metadata = (mapping(aws.get("ResponseMetadata")) if aws is not None else None) or {}
    documents = list(_documents(error, response, aws))
    records = tuple(_records(document for document in documents if not isinstance(document, str)))
    return Reply(
        status=_status(error, response, metadata),
        headers=_all_headers(error, response, metadata),
        records=records,
        codes=frozenset(_codes(error, records)),
        text="\n".join(_messages(documents, records))[:_LONGEST_TEXT],
    )


def header_table(headers: object) -> dict[str, str]:
    """Any client's headers by lower-case name; {} for what are none.

    Iterated rather than asked: a plain dict is case-sensitive, CIMultiDict repeats names, and keys
    may be bytes.
    """
    table: dict[str, str] = {}
    try:
        items = peek(headers, "items")
        pairs = cast("Iterable[object]", items() if callable(items) else headers)
        for pair in islice(pairs, _MOST_HEADERS):
            key, value = cast("tuple[object, object]", pair)
            name, text = _plain(key).lower(), _plain(value).strip()
            table[name] = f"{table[name]}, {text}" if name in table else text
    except Exception:
        pass
    return table


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value) if isinstance(value, (str, int, float)) else ""


def _all_headers(error: object, response: object, metadata: Mapping[object, object]) -> dict[str, str]:
    # Weakest first: litellm's exceptions carry an empty response beside the headers that came.
    table = header_table(metadata.get("HTTPHeaders"))
    for source, name in ((error, "litellm_response_headers"), (error, "headers"), (response, "headers")):
        table |= header_table(peek(source, name))
    return table


def _status(error: object, response: object, metadata: Mapping[object, object]) -> int | None:
    # `code` comes last: aiohttp's is deprecated and warns when it is read, Gemini's is the status.
    for source, name in (
        (error, "status_code"),
        (response, "status_code"),
        (error, "status"),
        (response, "status"),
        (error, "code"),
    ):
        status = whole(peek(source, name))
        if status is not None and 100 <= status <= 599:
            return status
    status = whole(metadata.get("HTTPStatusCode"))
    return status if status is not None and 100 <= status <= 599 else None


def _documents(error: object, response: object, aws: object) -> Iterator[object]:
    """Bodies, parsed where they are JSON, else their text."""
    yield from _parsed(peek(error, "body"))
    yield from _parsed(peek(error, "details"))
    # litellm puts Gemini's and Anthropic's whole body into the message, behind a prefix.
    yield from _parsed(peek(error, "message"))
    yield aws
    # Not the public `.content`: on a requests response opened with stream=True it reads the socket.
    # requests, httpx and httpx2 keep a body that has been read under this one name.
    try:
        yield from _parsed(vars(response).get("_content"))
    except TypeError:
        pass


def _parsed(value: object) -> Iterator[object]:
    if isinstance(value, (bytes, bytearray)):
        value = value[:_LONGEST_TEXT].decode("utf-8", "replace")
    if not isinstance(value, str):
        yield value
        return
    text = value[:_LONGEST_TEXT]
    yield text
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if starts:
        try:
            yield json.JSONDecoder().raw_decode(text, min(starts))[0]
        except (ValueError, RecursionError):
            pass


def _records(documents: Iterable[object]) -> Iterator[Mapping[object, object]]:
    queue = list(documents)
    budget = _MOST_RECORDS  # also what ends a document that contains itself
    while queue and budget:
        budget -= 1
        document = queue.pop(0)
        if isinstance(document, (list, tuple)):
            queue.extend(cast("list[object]", document)[:_MOST_RECORDS])
        elif (record := mapping(document)) is not None:
            yield record
            queue.extend(record[name] for name in _NESTED if name in record)


def _codes(error: object, records: Iterable[Mapping[object, object]]) -> Iterator[str]:
    named = [peek(error, name) for name in ("type", "error_code", "rate_limit_type")]
    if whole(peek(error, "status")) is None:  # aiohttp's `code` warns, and its `status` says it all
        named.append(peek(error, "code"))
    for record in records:
        named.extend(record.get(name) for name in ("code", "type", "error_code", "status", "Code"))
    for name in named:
        if isinstance(name, str):
            yield name.lower()
        elif (number := whole(name)) is not None:
            yield str(number)


def _messages(documents: Iterable[object], records: Iterable[Mapping[object, object]]) -> Iterator[str]:
    for document in documents:
        if isinstance(document, str):
            yield document
    for record in records:
        for name in ("message", "Message", "error"):
            text = record.get(name)
            if isinstance(text, str):
                yield text
