"""The answers of a batch that has ended: read as they come, written down, and counted."""

from __future__ import annotations

from typing import Final

from fanmap._drive.batch.book import Book
from fanmap._drive.batch.posting import PROVIDERS
from fanmap._drive.batch.steps import Steps
from fanmap._drive.batch.talking import Missing, Talk
from fanmap._errors import BatchError
from fanmap._policy.batch.hand_ins import asked_again, is_spent
from fanmap._policy.batch.job import HandIn
from fanmap._policy.batch.question import Group
from fanmap._policy.batch.wire import Batch, Line

_DOWNLOADS: Final = 3
_SHOWN: Final = 200  # bytes of what is no line of results


class Collector:
    """Collects hand-ins, one after the other.

    Args:
        book: of the job.
        talk: with the provider.
    """

    def __init__(self, book: Book, talk: Talk) -> None:
        self._book = book
        self._talk = talk

    def collect(self, hand_in: HandIn, group: Group, batch: Batch) -> Steps[None]:
        """A hand-in is over: its answers are in the file, or why there are none is raised.

        Raises:
            BatchError: the provider refused it, it was cancelled, its answers are not there, or the account has nothing
                left.
            NoMoney: its answers cannot be priced.
        """
        book = self._book
        if batch.state == "failed":
            book.over(hand_in.name, "void")
            words = batch.words or batch.problem or "no reason given"
            raise BatchError(f"the provider refused batch {batch.id}: {words}")
        left, again, spent = yield from self._read(hand_in, group, group.model, batch)
        if batch.state != "cancelled":
            for key in hand_in.questions:
                if key in left or key in again:
                    self._no_answer(key, again.get(key))
        book.ledger.batches += 1
        book.over(hand_in.name, "ended")
        if batch.state == "cancelled":
            raise BatchError(f"batch {batch.id} was cancelled: call again to submit what it has not answered")
        if book.spending is not None:
            book.spending.check()
        if spent:
            raise BatchError("the account has no credit left: answers are kept, call again to resume")

    def collect_unwanted(self, hand_in: HandIn, group: Group, batch: Batch) -> Steps[None]:
        """The same where no item waits for it: nothing is asked again, and however it ended is no error."""
        book = self._book
        if batch.state == "failed":
            book.over(hand_in.name, "void")
            return
        left, again, _ = yield from self._read(hand_in, group, "", batch)
        if batch.state != "cancelled":
            for key in (key for key in hand_in.questions if key in left or key in again):
                book.ledger.count("failed" if key in again and again[key].status is not None else "expired")
        book.ledger.batches += 1
        book.over(hand_in.name, "ended")

    def _read(
        self, hand_in: HandIn, group: Group, model: str, batch: Batch
    ) -> Steps[tuple[set[str], dict[str, Line], bool]]:
        """Keep what is an answer, or a failure for a client to see.

        Args:
            hand_in: that is over.
            group: through whom to read it.
            model: that was asked for; "": each answer says it.
            batch: its end.

        Returns:
            The questions without a line; the lines that a repeat may mend, by question; has the account nothing left?

        Raises:
            Missing: there are answers, and no line of results; or what is there is none.
        """
        left = set(hand_in.questions)
        again: dict[str, Line] = {}
        spent = False
        read, strange = 0, b""
        for _ in range(_DOWNLOADS):
            read, strange = 0, b""
            for url in batch.results:
                with (yield from self._talk.download(url, group)) as file:
                    for text in file:
                        line = PROVIDERS[group.provider].read_line(text)
                        if line is None:
                            strange = strange or text.strip()
                            continue
                        read += 1
                        if line.key in left:
                            left.discard(line.key)
                            spent = spent or is_spent(line.status or 0, line.body)
                            if asked_again(line.status, line.body):
                                again[line.key] = line
                            else:
                                self._keep(hand_in, model, line)
            if read >= min(batch.finished, len(hand_in.questions)) and not (strange and not read):
                break
        if not read and (strange or batch.answered):  # what was answered is paid for
            what = strange[:_SHOWN].decode("utf-8", "replace")  # a page of somebody between, perhaps
            raise Missing(
                f"results could not be read: {what or f'batch {batch.id} has {batch.answered} answers and shows none'}"
            )
        return left, again, spent

    def _keep(self, hand_in: HandIn, model: str, line: Line) -> None:
        """A line has an answer, or a failure for its client to see."""
        book, cost = self._book, None
        answered, known = (line.status or 0) < 400, line.key in book.job.answers
        if answered:
            usage, price = book.ledger.answered(line.body, model, hand_in.place.root)
            if book.spending is not None and not known:
                cost = book.spending.answered(hand_in, usage, price)
        else:
            book.ledger.count("failed")
        if not known:
            book.answered(line, cost)

    def _no_answer(self, key: str, line: Line | None) -> None:
        """A question is to be asked again, or its client is to see that it was in vain."""
        book, again = self._book, self._book.unanswered(key)
        if line is None or line.status is None:
            book.ledger.count("expired")
            if not again:
                book.give_up(key)
        else:
            book.ledger.count("asked again" if again else "failed")
            if not again:
                book.answered(line)
