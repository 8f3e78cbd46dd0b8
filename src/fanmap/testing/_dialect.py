"""What the wire formats have in common: what a request asks, and what a provider's way of speaking consists of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias, cast

from fanmap.testing._behaviour import Level
from fanmap.testing._provider import Reason
from fanmap.testing._text import count_tokens

Json: TypeAlias = dict[str, Any]
Levels: TypeAlias = Mapping[Reason, Level]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request, `body`, asks: the last user message is its prompt; `tokens` count against the limit."""

    prompt: str
    system: str
    model: str
    input_tokens: int
    tokens: int
    body: Json


class Dialect(NamedTuple):
    """One provider's way of speaking at one path.

    Attributes:
        names_wait: A refusal has a Retry-After header.
    """

    path: str
    read: Callable[[Json], Asked]
    answer: Callable[[Asked, str, int, datetime], Json]
    error: Callable[..., Json]
    headers: Callable[[int, Levels, datetime], dict[str, str]]
    names_wait: bool = True


def retry_after_text(seconds: float) -> str:
    """Seconds as a header, rounded up: who waits that long is never early."""
    return f"{math.ceil(seconds * 1000 - 1e-6) / 1000:.3f}".rstrip("0").rstrip(".")


def what_is_asked(body: Json, messages: list[Json], system: str, max_tokens: int | None) -> Asked:
    """Of a body whose messages are these."""
    texts = [(message.get("role", "user"), text_of(message.get("content") or "")) for message in messages]
    system += "\n".join(text for role, text in texts if role in ("system", "developer"))
    prompt = next((text for role, text in reversed(texts) if role == "user"), "")
    size = count_tokens(system) + sum(count_tokens(text) for role, text in texts if role not in ("system", "developer"))
    return Asked(prompt, system, str(body.get("model", "simulated")), size, size + (max_tokens or 0), body)


def text_of(content: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = cast("list[Json]", content)
    return "\n".join(part["text"] for part in parts if "text" in part)


def request_id(index: int) -> str:
    """The id that headers and errors of a request name."""
    return f"req_simulated_{index}"
