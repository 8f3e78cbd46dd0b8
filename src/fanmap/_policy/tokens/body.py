"""What the body of a response says: its model and what it took.

Pure, and it keeps nothing of a body longer than it is needed: at most its first 4 kB (64 kB where they do not name the
model) and its last 32 kB while it passes, then numbers and the model's name. A body is read whole up to 16 kB, a longer
one from its ends (`ends`), a stream of server-sent events from its first and its last ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, cast

from fanmap._policy.foreign import as_mapping
from fanmap._policy.tokens import ends
from fanmap._policy.tokens.usage import Taken, find_model, find_usage, merged, read_taken

WHOLE = 16_384
"""Bytes up to which a body is parsed whole; as much is kept of the end of a longer one."""

_HEAD = 4_096
_LONGEST_HEAD = 65_536
"""OpenAI's responses name the model behind the `instructions`, which they repeat."""

_LONGEST_THERE = 1 << 20
"""The same of a body that is there as a whole."""

_MOST_CHUNKS = 64

_USAGES = ("usage", "usageMetadata")
_MODELS = ("model", "modelVersion")
_OWN = range(1, 2)
_NESTED = range(1, 3)
"""An event wraps its usage once (`{"response": {…, "usage": …}}`), and so does a JSON array of chunks."""


class Said(NamedTuple):
    """What a body said.

    Attributes:
        taken: what the response took; None: it does not say.
        model: the model's name; None: it does not say.
    """

    taken: Taken | None = None
    model: str | None = None


NOTHING = Said()


def read_body(body: bytes, *, model: bool = True) -> Said:
    """Read a body that is there as a whole: JSON, or server-sent events; anything else says nothing.

    Args:
        body: decompressed.
        model: somebody wants to know it; without, less has to be looked at.
    """
    beginning = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:6]
    if beginning.startswith((b"data:", b"event:", b"id:", b"retry:", b":")):
        pieces = Pieces(events=True)
        pieces.feed(body)
        return pieces.read()
    if not beginning.startswith((b"{", b"[")):
        return NOTHING
    if len(body) > WHOLE:
        said = _from_ends(body[:_HEAD], body[-WHOLE:])
        if model and said.taken is not None and said.model is None:  # else nothing is to be priced
            said = said._replace(model=_model_in(body[:_LONGEST_THERE], _OWN))
        return said
    if not model and beginning.startswith(b"{"):
        usage = _last_usage(body, nested=False)
        if usage is not None:
            return Said(read_taken(usage))
    try:
        document: object = json.loads(body)
    except UnicodeDecodeError:  # as long ones are read
        return _from_text(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return NOTHING
    return read_document(document)


def _from_text(text: str) -> Said:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return NOTHING
    return read_document(document)


def read_document(document: object) -> Said:
    """Read a body that has been parsed: an object, or an array of the chunks of one answer."""
    if not isinstance(document, list):
        return Said(read_taken(find_usage(document)), find_model(document))
    chunks = cast("list[object]", document)
    usages: list[Mapping[object, object]] = []
    model: str | None = None
    for chunk in chunks[-_MOST_CHUNKS:]:
        usage = find_usage(chunk)
        if usage is not None:
            usages.append(usage)
        model = model or find_model(chunk)
    return Said(read_taken(merged(usages)), model)


class Passing(Protocol):
    """A body that is seen as its reader takes it.

    Attributes:
        passed: its reader has come to its end, or has left it.
    """

    passed: bool

    def read(self) -> Said:
        """What has passed so far says this; asked at its end, or when nobody waits for it any longer."""
        ...


class Documents:
    """A body of events that its client has parsed (Bedrock's)."""

    __slots__ = ("_usage", "passed")

    def __init__(self) -> None:
        self.passed = False
        self._usage: dict[object, object] = {}

    def note(self, event: object) -> None:
        """The next event."""
        table = as_mapping(event)
        chunk = None if table is None else as_mapping(table.get("chunk"))
        raw = None if chunk is None else chunk.get("bytes")
        if isinstance(raw, bytes):  # the model's own format, as JSON
            event = next(_parsed([raw] if _TELLS.search(raw) else []), None)
        usage = find_usage(event)
        if usage is not None:
            self._usage = merged([self._usage, usage])

    def read(self) -> Said:
        return Said(read_taken(self._usage))


class Pieces:
    """A body seen piece by piece.

    Args:
        events: a stream of server-sent events, and no JSON.
    """

    __slots__ = ("_events", "_head", "_size", "_tail", "_wanted", "passed")

    def __init__(self, *, events: bool) -> None:
        self.passed = False
        self._events = events
        self._head = b""
        self._wanted: int = _HEAD
        self._tail = bytearray()
        self._size = 0

    def feed(self, piece: bytes | bytearray) -> None:
        """The next piece."""
        self._size += len(piece)
        if len(self._head) < self._wanted:
            self._begin(piece)
        tail = self._tail
        tail += piece[-WHOLE:]
        if len(tail) > 2 * WHOLE:  # cut now and then, not at each piece
            del tail[:-WHOLE]

    def _begin(self, piece: bytes | bytearray) -> None:
        """Keep the beginning, and twice as much of it as long as it does not name the model."""
        while piece and len(self._head) < self._wanted:
            more = self._wanted - len(self._head)
            self._head += piece[:more]
            piece = piece[more:]
            full = len(self._head) == self._wanted < _LONGEST_HEAD
            if full and _model_in(self._head, _NESTED if self._events else _OWN) is None:
                self._wanted *= 2

    def read(self) -> Said:
        if self._events:
            return _from_events(self._head, bytes(self._tail), cut=self._size > len(self._tail))
        if self._size > len(self._tail):
            return _from_ends(self._head, bytes(self._tail[-WHOLE:]))
        return read_body(bytes(self._tail))


def _from_ends(head: bytes, tail: bytes) -> Said:
    in_array = tail.rstrip().endswith(b"]")
    depths = _NESTED if in_array else _OWN
    usage = _last_usage(tail, nested=in_array)
    if usage is None:  # some servers put it before the answer
        usage = next(filter(None, (as_mapping(value) for _, value in ends.first_members(head, _USAGES, depths))), None)
    model = _model_in(head, depths)
    for name in _MODELS if model is None else ():
        members = ends.last_members(tail, b'"' + name.encode() + b'"', nested=in_array)
        if members is not None:
            model = _first_text((name, members[name]) for name in _MODELS if name in members)
    return Said(read_taken(usage), model)


def _last_usage(tail: bytes, *, nested: bool) -> Mapping[object, object] | None:
    for name in _USAGES:
        members = ends.last_members(tail, b'"' + name.encode() + b'"', nested=nested)
        usage = None if members is None else as_mapping(members[name])
        if usage:
            return usage
    return None


def _model_in(head: bytes, depths: range) -> str | None:
    return _first_text(ends.first_members(head, _MODELS, depths))


def _first_text(members: Iterable[tuple[str, object]]) -> str | None:
    return next((value for _, value in members if isinstance(value, str) and value), None)


def _from_events(head: bytes, tail: bytes, *, cut: bool) -> Said:
    said = _from_lines(head, tail, bytes.splitlines, cut=cut)
    if said.taken is None and _CONTINUED.search(tail):
        said = _from_lines(head, tail, _joined, cut=cut)
    return said


_CONTINUED = re.compile(rb"\ndata:[^\n]*+\ndata:")


def _joined(stream: bytes) -> list[bytes]:
    """Lines, the data of one event in one: a server may send its JSON as it was laid out for people."""
    lines: list[bytes] = []
    for line in stream.splitlines():
        if lines and line.startswith(b"data:") and lines[-1].startswith(b"data:"):
            lines[-1] += line[5:]
        else:
            lines.append(line)
    return lines


def _from_lines(head: bytes, tail: bytes, split: Callable[[bytes], list[bytes]], *, cut: bool) -> Said:
    """What the first event that tells something says, and the last one."""
    lines = split(tail)
    first = split(head)[:-1] if cut else lines
    begin = next(_events(line for line in first if b'"model' in line), None)
    told = [_telling(first), _telling(reversed(lines))]
    usages = [usage for usage in map(find_usage, told) if usage is not None]
    model = next((model for model in map(find_model, [begin, *told]) if model is not None), None)
    if cut and told[1] is None:  # the last event is too long to be kept whole
        event = tail.rstrip()
        while event and not event.endswith(b"}"):  # "data: [DONE]" and the like behind it
            event = event[: max(event.rfind(b"\n"), event.rfind(b"\r"), 0)].rstrip()
        usage = _last_usage(event, nested=True)
        if usage is not None:
            usages.append(usage)
    if model is None and cut:
        model = _model_in(head, _NESTED)
    return Said(read_taken(merged(usages)), model)


# Most events of a stream are a word each, with `"usage":null` in it or nothing of that kind.
_TELLS = re.compile(rb'"(?:usage(?:Metadata)?|amazon-bedrock-invocationMetrics)"\s*+:\s*+\{')


def _telling(lines: Iterable[bytes]) -> object:
    """The first event of these lines that has a usage; None: none has."""
    events = _events(line for line in lines if _TELLS.search(line))
    return next((event for event in events if find_usage(event) is not None), None)


def _events(lines: Iterable[bytes]) -> Iterator[object]:
    return _parsed(line[5:] for line in lines if line.startswith(b"data:"))


def _parsed(texts: Iterable[bytes]) -> Iterator[object]:
    for text in texts:
        try:
            yield json.loads(text)
        except (ValueError, RecursionError):
            continue
