"""How the loopback server's batches go, and what a test sees of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fanmap.testing._behaviour import check_number
from fanmap.testing._script import Reply, Request

Json: TypeAlias = dict[str, Any]
LineFate: TypeAlias = Literal["dropped", "expired"] | Reply | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchScript:
    """How the server's batches go; `server.batches.script`, which may be changed at any time.

    Args:
        delay: Seconds from the making of a batch to its end; `math.inf`: it never ends.
        shuffled: Results come in another order than their requests.
        line: Called with each request of a batch that ends; "dropped": it has no line at all, "expired", a `Reply`
            that it is answered, or None for the usual answer.
        most_tokens: Estimated tokens in batches that have not ended; a batch beyond that fails, with OpenAI's code
            `token_limit_exceeded`. None: no limit.
        invalid: OpenAI's words for what is wrong with every new batch, which fails. None: nothing.
        cut_results: So many downloads of results end in the middle of a line.
        cut_answers: So many makings of a batch are done, and their answer is lost with its connection.
    """

    delay: float = 0.0
    shuffled: bool = False
    line: Callable[[Request], LineFate] | None = None
    most_tokens: int | None = None
    invalid: str | None = None
    cut_results: int = 0
    cut_answers: int = 0

    def __post_init__(self) -> None:
        check_number("delay", self.delay, (int, float))
        if not self.delay >= 0:
            raise ValueError(f"delay must be >= 0, got {self.delay!r}")


@dataclass(slots=True, eq=False)
class SimulatedBatch:
    """A batch that was submitted.

    Attributes:
        id: Its id.
        provider: "openai" or "anthropic".
        requests: What its lines ask, by `custom_id`.
        state: "running", "ended", "failed" or "cancelled".
        answered: The `custom_id`s of lines that were answered with success, and so paid.
    """

    id: str
    provider: Literal["openai", "anthropic"]
    requests: dict[str, Request] = field(repr=False)
    state: Literal["running", "ended", "failed", "cancelled"] = "running"
    answered: list[str] = field(default_factory=list[str], repr=False)
    created: float = 0.0
    about: Json = field(default_factory=dict[str, Any], repr=False)
    tokens: int = 0
    problem: Json = field(default_factory=dict[str, Any], repr=False)
    good: list[bytes] = field(default_factory=list[bytes], repr=False)
    bad: list[bytes] = field(default_factory=list[bytes], repr=False)
    expired: int = 0
    failed: int = 0
