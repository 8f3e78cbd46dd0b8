"""How questions are spread over hand-ins, and what a line of results that is no answer comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fanmap._policy.failures.signals import read_error

ASKS: Final = 3  # a question that was not answered is asked again twice


def split(sizes: Sequence[tuple[int, int]], *, most_lines: int, most_bytes: int, overhead: int) -> list[range]:
    """Cut lines into hand-ins, in order, each as full as it may be.

    Args:
        sizes: of each line: its weight, counted against `most_lines`, and its bytes.
        most_lines: in one hand-in.
        most_bytes: the same; a line that is larger by itself goes alone.
        overhead: bytes around each line.
    """
    cuts: list[range] = []
    start, lines, size = 0, 0, 0
    for index, (weight, length) in enumerate(sizes):
        if index > start and (lines + weight > most_lines or size + length + overhead > most_bytes):
            cuts.append(range(start, index))
            start, lines, size = index, 0, 0
        lines += weight
        size += length + overhead
    if sizes:
        cuts.append(range(start, len(sizes)))
    return cuts


class _Failed(Exception):
    def __init__(self, status: int, body: object) -> None:
        super().__init__()
        self.status_code = status
        self.body = body
        self.headers: dict[str, str] = {}


def is_spent(status: int, body: Any) -> bool:
    """Does this response say that the account has nothing left?"""
    return status >= 400 and read_error(_Failed(status, body), wall=0.0).kind == "spent"


def asked_again(status: int | None, body: Any) -> bool:
    """Is a question whose line stands for this response (None: for none) to be asked once more?"""
    if status is None or status >= 500 or status in (408, 409):
        return True
    return status == 429 and not is_spent(status, body)
