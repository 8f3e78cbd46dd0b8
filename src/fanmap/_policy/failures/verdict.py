"""How a failure is read: its kind, and the wait that it names.

Who reads it is `signals`; what is done about a kind, `attempt`, `refusal` and `brake` know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fanmap._policy.checks import is_finite

Kind = Literal["rate", "concurrency", "ramp", "overloaded", "transient", "spent", "forbidden", "permanent"]

_KINDS: tuple[str, ...] = get_args(Kind)
_RENAMED = {"refused": "forbidden", "steep": "ramp", "wrong": "permanent"}
"""Kinds of before 0.1.0: `stats.refused` counts what a server refused to start, a "refused" kind was a 403."""

REFUSALS = frozenset({"rate", "concurrency", "ramp"})
OUTAGES = frozenset({"transient", "overloaded"})
FATAL = frozenset({"spent", "forbidden"})
"""What no repeat mends, whatever a user's `on` says."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a failure is read.

    Attributes:
        kind: "rate" (too much in too short a time), "concurrency" (too many at once), "ramp" (the
            rate rose too fast), "overloaded" (the server, whatever our own limit), "transient" (a
            repeat may mend it), "spent" (the account is out of money or of quota for the day),
            "forbidden" (this key, or this item, is not allowed), "permanent" (the call itself).
            The first three, and "overloaded" with a wait, mean that the server refused to start the
            call: it is sent again unasked. "spent" stops the run.
        wait: seconds from now, finite and >= 0; None where no wait was named.

    Raises:
        ValueError: when it is made with another kind or wait.
    """

    kind: Kind
    wait: float | None = None

    @property
    def refused_to_start(self) -> bool:
        """Did the server refuse to start the call, so that nothing was done and it may be sent again unasked?"""
        return self.kind in REFUSALS or (self.kind == "overloaded" and self.wait is not None)

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            renamed = _RENAMED.get(self.kind) if isinstance(self.kind, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
            if renamed is not None:
                raise ValueError(f"kind must be {renamed!r}, its new name, got {self.kind!r}")
            raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {self.kind!r}")
        if not _is_wait(self.wait):
            raise ValueError(f"wait must be None or finite seconds >= 0, got {self.wait!r}")


def _is_wait(wait: object) -> bool:
    if wait is None:
        return True
    if isinstance(wait, bool) or not isinstance(wait, (int, float)):
        return False
    return is_finite(wait) and wait >= 0
