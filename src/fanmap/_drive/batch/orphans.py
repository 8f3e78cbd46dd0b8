"""Batches of the file that no item of this call waits for: looked at once, and collected or closed if they have ended.

`map` has called for their items since, or their inputs are not among those of this call. Nobody waits for them, and
whatever goes wrong with one leaves it as it is, for the next call.
"""

from __future__ import annotations

from collections.abc import Callable

from fanmap._drive.batch.book import Book
from fanmap._drive.batch.collecting import Collector
from fanmap._drive.batch.finding import Finder
from fanmap._drive.batch.steps import Pass, Steps
from fanmap._drive.batch.talking import Talk
from fanmap._errors import BatchError
from fanmap._policy.batch.job import HandIn
from fanmap._policy.batch.patience import Patience
from fanmap._policy.batch.question import Group, shown_query
from fanmap._policy.batch.wire import Place


class Orphans:
    """Those of one job.

    Args:
        book: of the job.
        patience: of its waiting.
        item_of: the index of the item to run where nobody's client is known that can ask about a hand-in; None: none.
    """

    def __init__(self, book: Book, patience: Patience, item_of: Callable[[HandIn], int | None]) -> None:
        self._book = book
        self._talk = Talk(book, patience, patient=False)
        self._collector = Collector(book, self._talk)
        self._item_of = item_of
        self._looked = False

    def look(self) -> Steps[None]:
        """Look at each, after the first pass of the items; later it is nothing."""
        if self._looked:
            return
        self._looked = True
        job, in_vain = self._book.job, set[Place]()
        for name, hand_in in list(job.under_way.items()):
            if name in self._book.homes or hand_in.place in in_vain:
                continue
            if not self._groups_at(hand_in):
                yield from self._meet_client(hand_in)
            groups = self._groups_at(hand_in)
            if not groups:
                in_vain.add(hand_in.place)
            for group in groups:
                try:
                    yield from self._look_at(hand_in, group)
                    break
                except BatchError:  # it is another account's, or cannot be reached now
                    continue

    def _groups_at(self, hand_in: HandIn) -> list[Group]:
        """Those whose client sends to where the hand-in is."""
        place = hand_in.place
        where = hand_in.provider, place.root, shown_query(place.query)
        return [one for one in self._book.postings if (one.provider, one.root, shown_query(one.query)) == where]

    def _meet_client(self, hand_in: HandIn) -> Steps[None]:
        """An item runs as far as its first request, whose client is all that is wanted of it."""
        item = self._item_of(hand_in)
        if item is not None:
            self._book.only_meets = True
            try:
                yield Pass([item])
            finally:
                self._book.only_meets = False

    def _look_at(self, hand_in: HandIn, group: Group) -> Steps[None]:
        hand_in.reach_by(group)
        if not hand_in.id:
            finder = Finder(self._book, self._talk, hand_in, group)
            state = yield from finder.look()
            if state != "found":
                # Another account does not see it, and its own items may come with the next call.
                if state == "nowhere" and hand_in.account == group.shown_account and not finder.may_still_appear():
                    self._book.over(hand_in.name, "void")
                return
        batch = yield from self._talk.looking(hand_in, group)
        if batch.state != "running":
            yield from self._collector.collect_unwanted(hand_in, group, batch)
