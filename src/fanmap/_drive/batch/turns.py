"""The turns of a batch job: what is handed in, what is found again, what is waited for.

A turn: every item runs as far as it goes; what they ask is handed in; when the batches have ended, the next one begins.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Final

from fanmap._drive import clock
from fanmap._drive.batch.book import Book
from fanmap._drive.batch.collecting import Collector
from fanmap._drive.batch.finding import Finder
from fanmap._drive.batch.posting import PROVIDERS
from fanmap._drive.batch.senders import Lost
from fanmap._drive.batch.spending import NoMoney, Spending
from fanmap._drive.batch.steps import Sleep, Steps
from fanmap._drive.batch.talking import Missing, Talk, refused
from fanmap._errors import BatchError, BatchPending
from fanmap._policy.batch.hand_ins import split
from fanmap._policy.batch.job import HandIn
from fanmap._policy.batch.patience import Patience
from fanmap._policy.batch.question import Group
from fanmap._policy.batch.wire import Place, Refused

_LOOKS: Final = 3  # for a batch whose making was not answered
_LOSSES: Final = 3


class Turns:
    """The steps of one call of `batch`.

    Args:
        book: of the job.
        patience: of its waiting.
        pending: makes what is raised when the caller wants to go.
        look: called when something has changed.

    Attributes:
        taken: turns in which something was handed in, or waited for.
    """

    def __init__(
        self, book: Book, patience: Patience, pending: Callable[[], BatchPending], look: Callable[[], object]
    ) -> None:
        self._book = book
        self._patience = patience
        self._talk = Talk(book, patience)
        self._collector = Collector(book, self._talk)
        self._pending = pending
        self._look = look
        self.taken = 0
        self._lost = 0
        self._fresh: set[str] = set()  # handed in just now: there is nothing to see yet

    def turn(self) -> Steps[None]:
        """Hand in what a pass has found, and wait for the batches of its items to end."""
        yield from self._find_unanswered()
        yield from self._hand_in()
        self.taken += 1
        self._look()
        yield from self._wait()

    # Handing in

    def _hand_in(self) -> Steps[None]:
        book, groups = self._book, dict[Group, list[str]]()
        wanted = book.wanted()
        costs = dict[str, float]() if book.spending is None else (yield from self._affordable(book.spending, wanted))
        for key in wanted if book.spending is None else costs:
            groups.setdefault(book.noted[key].group, []).append(key)
        turn = book.job.turn + 1
        for group, keys in groups.items():
            provider, cap = PROVIDERS[group.provider], book.caps.get(group)
            sizes = [(book.noted[key].weight, book.noted[key].size) for key in keys]
            most = provider.most_lines if cap is None else min(cap, provider.most_lines)
            cuts = split(sizes, most_lines=most, most_bytes=provider.most_bytes, overhead=provider.overhead)
            for cut in cuts[:1] if cap is not None else cuts:  # one at a time where they are too many together
                these = [keys[index] for index in cut]
                yield from self._hand_in_one(group, these, turn, sum(costs.get(key, 0.0) for key in these))
        book.forget_lines()

    def _affordable(self, spending: Spending, wanted: Sequence[str]) -> Steps[dict[str, float]]:
        """What of this may be handed in now, and what each may cost.

        Raises:
            NoMoney: nothing of it, and nothing that is under way may still settle for less.
        """
        book, delays = self._book, self._patience.delays()
        while True:
            spending.check()
            waiting = [one for name, one in book.job.under_way.items() if name in book.homes]
            choice = spending.choose([(key, book.noted[key].cost) for key in wanted], waiting)
            if choice.costs or waiting or not wanted:
                return choice.costs
            if choice.over:
                raise NoMoney(spending.exceeded())
            self._leave_in_time()
            yield Sleep(next(delays))  # calls under way outside of batches hold the rest

    def _hand_in_one(self, group: Group, keys: list[str], turn: int, cost: float) -> Steps[None]:
        book, provider = self._book, PROVIDERS[group.provider]
        place = Place(group.root, group.query, group.endpoint)
        name, account = uuid.uuid4().hex, group.shown_account
        hand_in = HandIn(name, group.provider, place, turn, clock.wall(), tuple(keys), reserved=cost, account=account)
        book.intend(hand_in)
        book.homes[hand_in.name] = group
        try:
            batch = yield from self._talk.through(provider.create(place, hand_in.name, book.noted.lines(keys)), group)
        except Lost:
            yield from self._find(hand_in.name)
            self._lost += hand_in.name not in book.job.under_way  # it was not made: the next pass asks again
            if self._lost >= _LOSSES:
                raise BatchError("a batch could not be submitted: the connection was lost each time") from None
            return
        except Refused as refusal:
            book.over(hand_in.name, "void")
            raise refused("a batch was not accepted", refusal) from None
        except BatchError:  # of what goes before the making of a batch
            book.over(hand_in.name, "void")
            raise
        self._fresh.add(hand_in.name)
        book.handed_in(hand_in.name, batch)

    # An intent without an id: was it made?

    def _find_unanswered(self) -> Steps[None]:
        for name, hand_in in list(self._book.job.under_way.items()):
            if not hand_in.id and name in self._book.homes:
                yield from self._find(name)

    def _find(self, name: str) -> Steps[None]:
        book, looks, delays = self._book, 0, self._patience.delays()
        hand_in = book.job.under_way[name]
        finder = Finder(book, self._talk, hand_in, book.homes[name])
        while True:
            state = yield from finder.look()
            if state == "found":
                return
            if state == "nowhere":
                looks += 1
                if looks >= _LOOKS or not finder.may_still_appear():
                    book.over(name, "void")
                    return
            else:
                book.seen[name] = "checking whether it was submitted", 0, len(hand_in.questions)
                self._look()
                self._leave_in_time()
            yield Sleep(next(delays))

    # Waiting

    def _wait(self) -> Steps[None]:
        book, delays = self._book, self._patience.delays()
        full: list[tuple[Group, int]] = []
        alone = True
        while True:
            waiting = [one for name, one in book.job.under_way.items() if name in book.homes]
            alone = alone and len(waiting) <= 1
            troubles: list[str] = []
            for hand_in in waiting:
                if hand_in.name in self._fresh:
                    continue
                try:
                    yield from self._look_at(hand_in, full)
                except BatchError as error:
                    if hand_in.name in book.homes and not isinstance(error, Missing):
                        raise
                    troubles.append(str(error))  # of this one alone: the others may have ended, too
            self._fresh.clear()
            self._look()
            if troubles:
                raise BatchError(troubles[0])
            if not any(name in book.homes for name in book.job.under_way):
                break
            self._leave_in_time()
            yield Sleep(self._patience.at_most(next(delays), clock.now()))
        for group, lines in full:
            self._halve(group, lines, alone=alone)

    def _look_at(self, hand_in: HandIn, full: list[tuple[Group, int]]) -> Steps[None]:
        """Collect it if it has ended.

        Raises:
            Missing: it is not there.
            BatchError: it came to nothing, or nothing can be asked.
        """
        book, group = self._book, self._book.homes[hand_in.name]
        batch = yield from self._talk.looking(hand_in, group)
        book.seen[hand_in.name] = batch.said, batch.finished, batch.total or len(hand_in.questions)
        if batch.state == "failed" and batch.problem == "token_limit_exceeded":
            book.over(hand_in.name, "void")
            full.append((group, len(hand_in.questions)))
        elif batch.state != "running":
            yield from self._collector.collect(hand_in, group, batch)

    def _halve(self, group: Group, lines: int, *, alone: bool) -> None:
        """A hand-in did not fit beside what is enqueued: one at a time from now on, and if it was alone, smaller."""
        if alone and lines == 1:
            raise BatchError(
                "the provider's limit of enqueued tokens leaves no room for a batch of one request: other batches of "
                "the account are under way, or the request is too large; call again to resume"
            )
        self._book.caps[group] = max(1, lines // 2) if alone else lines

    def _leave_in_time(self) -> None:
        if self._patience.is_over(clock.now()):
            raise self._pending()
