"""What a test can tell the loopback server to answer, and what it is told about a request.

Plain values: no HTTP library is imported here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fanmap.testing._behaviour import check_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the `respond=` hook sees it; `body` is the JSON, header names are in lower case."""

    path: str
    prompt: str = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    retry_count: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer; it stands in for the server's limits and dice.

    Args:
        status: The HTTP status; "drop" cuts the connection without a reply.
        text: What the model says, with status 200. None: the usual simulated reply.
        body: The whole body: text as it is, anything else as JSON. None: the provider's own format.
        headers: Sent besides the usual ones, or in their place.
        retry_after: The Retry-After header: seconds, or any text as it is. None: no header.
        code: The error's code in the provider's format, such as "insufficient_quota".
        delay: Seconds until it is sent; of a stream, until its first event is.
        chunk_delay: Of a stream: seconds before each piece of the text after the first.
        breaks_after: Of a stream: pieces of the text after which it breaks off. None: it does not.
        breaks_with: How: "drop" cuts the connection; a status of 400 or more is told in an error event.
    """

    status: int | Literal["drop"] = 200
    text: str | None = field(default=None, kw_only=True, repr=False)
    body: object = field(default=None, kw_only=True, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], kw_only=True)
    retry_after: float | str | None = field(default=None, kw_only=True)
    code: str | None = field(default=None, kw_only=True)
    delay: float = field(default=0.0, kw_only=True)
    chunk_delay: float = field(default=0.0, kw_only=True)
    breaks_after: int | None = field(default=None, kw_only=True)
    breaks_with: int | Literal["drop"] = field(default="drop", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("delay", "chunk_delay"):
            check_number(name, getattr(self, name), (int, float))
        check_number("breaks_after", self.breaks_after, int)
        if not 0 <= self.chunk_delay < math.inf:
            raise ValueError(f"chunk_delay must be finite and not negative, got {self.chunk_delay!r}")
        if self.breaks_after is not None and self.breaks_after < 0:
            raise ValueError(f"breaks_after must be >= 0 or None, got {self.breaks_after!r}")
        if self.breaks_with != "drop" and self.breaks_with not in range(400, 600):
            raise ValueError(f"breaks_with must be 400 to 599 or 'drop', got {self.breaks_with!r}")
        if self.status != "drop" and self.status not in range(200, 600):
            raise ValueError(f"status must be 200 to 599 or 'drop', got {self.status!r}")
        if not 0 <= self.delay < math.inf:
            raise ValueError(f"delay must be finite and not negative, got {self.delay!r}")


def check_reply(whose: str, reply: object) -> None:
    """TypeError where it is no answer of a script's."""
    if reply is not None and not isinstance(reply, Reply):
        raise TypeError(
            f"{whose} must be Reply(...) or None, got {type(reply).__name__}: "
            "write Reply(text=...) for an answer, Reply(429) for a status"
        )


def check_respond(respond: object) -> None:
    """TypeError where it cannot be asked."""
    if respond is not None and (not callable(respond) or inspect.iscoroutinefunction(respond)):
        kind = "an `async def`" if callable(respond) else type(respond).__name__
        raise TypeError(f"respond must be a `def` that takes a Request and returns Reply(...) or None, got {kind}")


Respond: TypeAlias = Callable[[Request], Reply | None]
"""Called with every request, in the server's thread; None means the usual answer."""
