"""The questions that a pass has found without an answer, and the lines that would hand them in.

The lines are in a file without a name, so that nobody's memory holds a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, NamedTuple

from fanmap._drive.batch.posting import PROVIDERS
from fanmap._drive.batch.spooling import drop, put, spool
from fanmap._policy.batch.question import Group, Question


class Noted(NamedTuple):
    """A question that may be handed in.

    Attributes:
        group: whose batch it fits.
        start: where its line begins.
        size: of that, in bytes.
        weight: how much it counts against a provider's most lines.
        item: the index of the one that asks.
        cost: dollars that it may cost; None: nobody can say, or wants to know.
    """

    group: Group
    start: int
    size: int
    weight: int
    item: int
    cost: float | None


class Notes(dict[str, Noted]):
    """By the keys of their questions. Whoever writes holds the book's lock."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: IO[bytes] | None = None
        self._size = 0
        self._closed = False

    def add(self, key: str, group: Group, question: Question, item: int, cost: float | None) -> None:
        """One more, once; none of a call in a thread that the run left behind.

        Raises:
            BatchError: there is no room for it.
        """
        if key in self or self._closed:
            return
        provider = PROVIDERS[group.provider]
        line = provider.line(key, question)
        if self._lines is None:
            self._lines = spool()
            self._size = 0
        put(self._lines, line)
        self[key] = Noted(group, self._size, len(line), provider.weight(question), item, cost)
        self._size += len(line)

    def lines(self, keys: Sequence[str]) -> list[bytes]:
        """The lines that would hand these questions in."""
        assert self._lines is not None
        found: list[bytes] = []
        for key in keys:
            noted = self[key]
            self._lines.seek(noted.start)
            found.append(self._lines.read(noted.size))
        return found

    def forget(self) -> None:
        """All of them: what is still to be asked is noted anew by the next pass."""
        self.clear()
        if self._lines is not None:
            drop(self._lines)
            self._lines = None

    def close(self) -> None:
        """Nothing more is noted; idempotent."""
        self._closed = True
        self.forget()
