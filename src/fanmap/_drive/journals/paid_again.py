"""Items that a run calls for while a batch of the same file has them under way: paid for twice, which is said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fanmap._drive.batch.notices import warn_of_paid_again
from fanmap._policy.batch.question import item_of, mark_of


class PaidAgain:
    """Looks at the items that a run is about to call, until it has warned. From any thread.

    Args:
        path: of the file.
        name: of the function.
        under_way: the questions of each batch of the file that was submitted and is not over.
    """

    def __init__(self, path: str, name: str, under_way: Mapping[str, Sequence[str]]) -> None:
        self._path = path
        self._name = name
        self._under_way = under_way
        self._marks: set[str] | None = None  # of the items in there; nobody looks in a run that is itself a batch
        self._unsaid: list[None] = [None]  # until somebody has it

    def look(self, key: str) -> None:
        """The item of this key is about to be called."""
        if not self._unsaid:
            return
        if self._marks is None:
            self._marks = {item_of(question) for questions in self._under_way.values() for question in questions}
        if mark_of(key) in self._marks:
            try:
                self._unsaid.pop()
            except IndexError:  # another thread was faster
                return
            warn_of_paid_again(self._path, self._name, len(self._under_way))
