"""Tokens: what a call may take, guessed from its arguments, and what it took, read from its reply.

Pure, and it runs none of the user's code: only plain containers are entered and only stored
attributes are read, so no generator is consumed and no property does I/O. Nothing raises. It must not
know what a budget does with the number (`rate`).
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from inspect import getattr_static
from types import MemberDescriptorType
from typing import cast

from fanmap._policy.foreign import as_mapping, safe_getattr
from fanmap._policy.tokens.usage import Taken, count, field, read_taken

_BYTES_PER_TOKEN = 4.0
"""Of UTF-8: the rule of thumb of four characters for English, and nearer than characters for scripts
in which a character is a token or half of one (a Chinese one has 3 bytes, a Cyrillic one 2)."""

_DEEPEST = 16
"""A tool result within a chat message within a batch is eight deep."""

_MOST_VALUES = 100_000

OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")

_TEXT_FIELDS = ("content", "text", "parts")
"""Where message objects keep text: LangChain and openai `content`, Gemini `parts` and `text`."""

_PLAIN = frozenset(map(id, (str, bytes, int, float, bool, type(None), list, tuple)))
"""What most functions return, and what tells no usage: by `id`, as a type need not have a hash."""

_NUMBERS = frozenset(map(id, (int, float, bool, type(None))))

_MEDIA_MARKS = ("media_type", "mime_type", "mimeType", "mediaType", "format")
_MEDIA_FIELDS = frozenset({"data", "bytes"})
"""`{"media_type": …, "data": …}` and the like: base64 of an image, a sound or a document."""


def estimate_tokens(args: tuple[object, ...], kwargs: Mapping[str, object]) -> float:
    """Guess what a call will take, from its arguments.

    Four bytes of UTF-8 a token over every text within the arguments (strings, bytes that are text,
    lists and dicts of them, chat messages as dicts or objects), and `max_tokens` or its newer names
    where given by keyword: OpenAI counts the prompt and `max_tokens` when a request arrives.
    Images and other media count nothing, whether bytes, base64 or data URL.

    Args:
        args: the call's positional arguments.
        kwargs: the call's keyword arguments.

    Returns:
        Tokens, at least 1, finite.

    Cost: one pass over the text; about 100,000 values are looked at, what is deeper than 16 is not.
    """
    counter = _Counter()
    for value in (*args, *kwargs.values()):
        counter.add(value, _DEEPEST)
    limit = _output_limit(kwargs) if kwargs else 0.0
    return max(1.0, counter.bytes / _BYTES_PER_TOKEN + limit)


def model_of(result: object) -> str | None:
    """The model that a reply names."""
    try:
        for name in ("model", "model_version", "modelVersion"):
            model = field(result, name)
            if isinstance(model, str) and model:
                return model
    except Exception:
        pass
    return None


def read_usage(result: object) -> float | None:
    """Read what a call took, from its reply.

    OpenAI in both spellings, Anthropic (its cache writes count, its cache reads are free), Gemini,
    Bedrock, LangChain, litellm; objects and parsed JSON. litellm's `prompt_tokens` has Anthropic's
    cache reads in it and they are left in: too much is the safe side.

    Args:
        result: what the function returned.

    Returns:
        Tokens > 0, or None where the reply does not tell: a text, or a server that says 0.
    """
    taken = read_result(result)
    return None if taken is None else float(taken.counted) or None


def read_result(result: object) -> Taken | None:
    """As `read_usage`, and everything that the reply tells of it."""
    if id(type(result)) in _PLAIN:
        return None
    try:
        for name in ("usage", "usage_metadata", "usageMetadata"):
            usage = field(result, name)
            if usage is not None and (taken := read_taken(usage)) is not None:
                return taken
    except Exception:
        pass
    return None


def _output_limit(kwargs: Mapping[str, object]) -> float:
    return float(max(count(kwargs.get(name)) for name in OUTPUT_LIMITS))


class _Counter:
    """Adds up the bytes of text, looking at no more than a bounded number of values."""

    __slots__ = ("_budget", "_path", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._budget = _MOST_VALUES
        self._path: set[int] = set()  # containers being entered: one inside itself counts once

    def add(self, value: object, depth: int) -> None:
        if self._budget <= 0:
            return
        self._budget -= 1
        if isinstance(value, str):
            self.bytes += _text_bytes(value)
        elif isinstance(value, (bytes, bytearray)):
            self.bytes += _readable_bytes(value)
        elif depth and id(type(value)) not in _NUMBERS and id(value) not in self._path:
            self._path.add(id(value))
            try:
                self._enter(value, depth - 1)
            except Exception:  # a Mapping of the user's own that fails: what it holds is not counted
                pass
            self._path.discard(id(value))

    def _enter(self, value: object, depth: int) -> None:
        if isinstance(value, (list, tuple, set, frozenset)):
            for member in cast("list[object]", value):
                self.add(member, depth)
                if self._budget <= 0:
                    return
        elif (table := as_mapping(value)) is not None:
            media = _is_media(table)
            for name, member in table.items():
                if not (media and name in _MEDIA_FIELDS):
                    self.add(member, depth)
                if self._budget <= 0:
                    return
        elif not isinstance(value, (int, float, type)):
            for name in _TEXT_FIELDS:
                self.add(_stored(value, name), depth)


def _is_media(table: Mapping[object, object]) -> bool:
    # Anthropic's plain-text documents have a media type too, text/plain.
    return any(mark in table and not str(table[mark]).startswith("text/") for mark in _MEDIA_MARKS)


def _text_bytes(text: str) -> int:
    if text.startswith("data:") and ";base64," in text[:256]:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _readable_bytes(data: bytes | bytearray) -> int:
    """The length of bytes that begin as text; 0 for an image or any other binary."""
    head = bytes(data[:1024])
    if b"\0" in head:
        return 0
    if head.startswith(b"data:") and b";base64," in head:
        return 0
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # takes a character cut at the end
    except UnicodeDecodeError:
        return 0
    return len(data)


def _stored(value: object, name: str) -> object:
    """An attribute that is stored in the object, not computed: properties may do I/O or raise."""
    try:
        return cast("dict[str, object]", vars(value)).get(name)
    except TypeError:  # an object with slots
        pass
    if isinstance(getattr_static(type(value), name, None), MemberDescriptorType):
        return safe_getattr(value, name)
    return None
