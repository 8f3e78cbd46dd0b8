"""What was measured, and the table of it.

Pure: text in, text out, at most 80 columns wide.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it imports a client
    from fanmap._demo.job import Request

_HEAD = ("seconds", "speed-up", "ideal", "requests", "refused", "lost")
_WIDTH = 29


@dataclass(frozen=True, slots=True)
class Row:
    """One way, measured; `seconds` None: it was skipped, and `name` says why.

    Attributes:
        ideal: seconds that the same calls take when no slot is ever idle; None: some were lost.
        sent: requests that were sent, the refused ones included.
        lost: languages without a translation.
    """

    name: str
    seconds: float | None = None
    ideal: float | None = None
    sent: int = 0
    refused: int = 0
    lost: int = 0


def measured(name: str, seconds: float, requests: Sequence[Request], lost: int, at_once: int) -> Row:
    """A row from what was seen of a way."""
    answered = sorted((request for request in requests if request.answered), key=lambda one: one.started)
    ideal = packed((request.seconds for request in answered), at_once)
    refused = sum(request.refused for request in requests)
    return Row(name, seconds, None if lost else ideal, len(requests), refused, lost)


def packed(durations: Iterable[float], slots: int) -> float:
    """When the last of these calls ends if each, in its turn, starts as soon as a slot is free.

    With one slot their sum, with a slot for each the slowest.
    """
    free = [0.0] * slots
    for seconds in durations:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def table(rows: Sequence[Row]) -> str:
    """The rows under their heads. Speed-ups are over the first row, and none is claimed where items were lost."""
    lines = [_line("", _HEAD), "-" * len(_line("", _HEAD))]
    base = rows[0].seconds
    for row in rows:
        if row.seconds is None:
            lines.append(row.name)
            continue
        whole = base is not None and not rows[0].lost and not row.lost
        cells = (
            _seconds(row.seconds),
            f"{base / row.seconds:.1f}x" if whole and base is not None else "-",
            "-" if row.ideal is None else _seconds(row.ideal),
            str(row.sent),
            str(row.refused),
            str(row.lost),
        )
        lines.append(_line(row.name, cells))
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{_WIDTH}}" + "".join(f"{cell:>{len(head) + 2}}" for head, cell in zip(_HEAD, cells, strict=True))


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
