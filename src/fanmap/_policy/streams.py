"""What is a stream, among the values that functions return, and what one has come to.

A stream is a generator of either kind, or an object that iterates, closes and carries the HTTP response that it reads,
as the clients of openai and anthropic have it. Files, cursors and readers are results like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, Literal, NamedTuple

from fanmap._policy.foreign import safe_getattr
from fanmap._policy.tokens.tokens import read_result

_MOST_TYPES: Final = 512  # that are remembered
LAST: Final = 4  # chunks of a stream, among which the one is that says what it took

_SURELY = (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
ordinary: dict[int, type] = {id(kind): kind for kind in _SURELY}
"""Types whose values are certainly no streams and no coroutines; others are added as they are seen.

By their `id`: a class whose metaclass compares has no hash.
"""


class Whole(NamedTuple):
    """A stream that was read by a worker.

    Attributes:
        chunks: of it, or (where they were handed out as they came) the last ones.
        begun: there was a first chunk.
        error: what it ended with; None: it came to its end.
    """

    chunks: list[Any]
    begun: bool
    error: BaseException | None


def stream_kind(value: object) -> Literal["sync", "async"] | None:
    """How this stream is read; None: it is none."""
    kind = type(value)
    if kind is GeneratorType:
        return "sync"
    if kind is AsyncGeneratorType:
        return "async"
    awaits = hasattr(kind, "__anext__")
    if not awaits and not hasattr(kind, "__next__"):
        if kind is not CoroutineType and len(ordinary) < _MOST_TYPES:
            ordinary[id(kind)] = kind
        return None
    if not (hasattr(kind, "close") or hasattr(kind, "aclose")):
        return None
    if is_generator(kind):  # our own, of a function within; of compiled code
        return "async" if awaits else "sync"
    try:
        response: Any = getattr(value, "response", None)
        carries = hasattr(response, "status_code") and hasattr(response, "headers")
    except Exception:  # an object that objects to being looked at
        return None
    if not carries:
        return None
    return "async" if awaits else "sync"


def is_generator(kind: type[Any]) -> bool:
    """Are its streams sent and thrown something, too? Asked as its base class in `typing` would, which wants a hash."""
    return (hasattr(kind, "send") and hasattr(kind, "throw")) or (hasattr(kind, "asend") and hasattr(kind, "athrow"))


def telling(chunks: Sequence[Any]) -> Any:
    """The last chunk that says what the stream took, or the last one; None: there was none."""
    for chunk in reversed(chunks[-LAST:]):
        if type(chunk) not in (str, bytes):
            # The last event of a response of openai's has the whole of it.
            for told in (chunk, safe_getattr(chunk, "response")):
                if told is not None and read_result(told) is not None:
                    return told
    return chunks[-1] if chunks else None
