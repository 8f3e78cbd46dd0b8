"""An intent without an id: was the batch made? Looked for at the provider, and never submitted twice."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from fanmap._drive import clock
from fanmap._drive.batch.book import Book
from fanmap._drive.batch.posting import PROVIDERS
from fanmap._drive.batch.steps import Steps
from fanmap._drive.batch.talking import Talk
from fanmap._policy.batch.job import HandIn
from fanmap._policy.batch.question import Group
from fanmap._policy.batch.wire import Batch

Found: TypeAlias = Literal["found", "perhaps", "nowhere"]
_YOUNG: Final = 60.0  # seconds in which it may still appear


class Finder:
    """Looks for one hand-in.

    Args:
        book: of the job.
        talk: with the provider.
        hand_in: without an id.
        group: through whom to ask.
    """

    def __init__(self, book: Book, talk: Talk, hand_in: HandIn, group: Group) -> None:
        self._book = book
        self._talk = talk
        self._hand_in = hand_in
        self._group = group
        self._others: set[str] = set()  # ids of batches that are somebody else's

    def look(self) -> Steps[Found]:
        """Once. "found": its id is in the file; "perhaps": a batch under way may be it."""
        book, hand_in, provider = self._book, self._hand_in, PROVIDERS[self._group.provider]
        flow = provider.find(hand_in.place, hand_in.name, hand_in.began, len(hand_in.questions))
        found, sure = yield from self._talk.asking("batches could not be listed", flow, self._group)
        found = [one for one in found if one.id not in book.job.ids and one.id not in self._others]
        for batch in found:
            if sure or (batch.results and (yield from self._is_ours(batch))):
                book.handed_in(hand_in.name, batch.id)
                return "found"
            if batch.state != "running":
                self._others.add(batch.id)
        return "perhaps" if found else "nowhere"

    def may_still_appear(self) -> bool:
        """Is it so young that a list may not have it yet?"""
        return clock.wall() - self._hand_in.began <= _YOUNG

    def _is_ours(self, batch: Batch) -> Steps[bool]:
        questions, provider = set(self._hand_in.questions), PROVIDERS[self._group.provider]
        with (yield from self._talk.download(batch.results[0], self._group)) as file:
            for text in file:
                line = provider.read_line(text)
                if line is not None:
                    return line.key in questions
        return False
