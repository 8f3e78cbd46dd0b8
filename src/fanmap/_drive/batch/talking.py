"""Talks with a provider about one group's batches: sends what a flow wants sent, and repeats it where that helps."""

from __future__ import annotations

from typing import IO, Final, TypeVar

from fanmap._drive import clock
from fanmap._drive.batch.book import Book
from fanmap._drive.batch.posting import PROVIDERS
from fanmap._drive.batch.senders import Lost
from fanmap._drive.batch.steps import Exchange, Pass, Sleep, Steps
from fanmap._errors import BatchError
from fanmap._policy.batch.hand_ins import asked_again
from fanmap._policy.batch.job import HandIn
from fanmap._policy.batch.patience import Patience
from fanmap._policy.batch.question import Group
from fanmap._policy.batch.wire import Answer, Batch, Call, Flow, Refused, document, is_answer

T = TypeVar("T")
_GONE: Final = (404, 410)


class Missing(BatchError):
    """Raised where one batch, or what it has answered, is not there: others are none the worse for it."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text}. If another account has submitted the batch, use a key of that account; if its answers are gone, "
            "map with the same resume= asks for them again, at full price"
        )


class Talk:
    """Sends what a flow wants sent.

    Args:
        book: of the job.
        patience: of its waiting.
        patient: what a repeat may mend is repeated; else everything is sent once, for nobody waits for it.
    """

    def __init__(self, book: Book, patience: Patience, *, patient: bool = True) -> None:
        self._book = book
        self._patience = patience
        self._patient = patient

    def asking(self, what: str, flow: Flow[T], group: Group) -> Steps[T]:
        """See a flow through, or end the job with the provider's words.

        Args:
            what: could not be done, where it is refused.
            flow: what is asked.
            group: of whose batch.
        """
        try:
            return (yield from self.through(flow, group))
        except Refused as refusal:
            raise refused(what, refusal) from None

    def looking(self, hand_in: HandIn, group: Group) -> Steps[Batch]:
        """Where does a batch stand?"""
        flow = PROVIDERS[group.provider].look(hand_in.place, hand_in.id)
        return (yield from self._asking_of_one("a batch could not be checked", flow, group))

    def _asking_of_one(self, what: str, flow: Flow[T], group: Group, files: list[IO[bytes]] | None = None) -> Steps[T]:
        try:
            return (yield from self.through(flow, group, files))
        except Refused as refusal:
            error = refused(what, refusal)
            raise (Missing(str(error)) if refusal.status in _GONE else error) from None

    def through(self, flow: Flow[T], group: Group, files: list[IO[bytes]] | None = None) -> Steps[T]:
        """Send what a flow wants sent; a failure that a repeat mends, and that costs nothing, is repeated.

        Raises:
            Lost: whether a batch was made nobody knows.
            Refused: the server says no.
        """
        refreshed = False
        try:
            call = next(flow)
            while True:
                failures = 0
                while True:
                    answer: Answer | None = None
                    posting = self._book.postings[group]
                    try:
                        answer, file = yield Exchange(posting, call)
                        if file is not None and files is not None:
                            files.append(file)
                    except Lost:
                        if not call.safe:
                            raise
                    if answer is not None:
                        if answer.status == 401 and not refreshed and self._patient:
                            refreshed, self._book.refreshing = True, group
                            yield Pass([posting.item])
                            self._book.refreshing = None
                            continue
                        says = is_answer(call, answer)
                        if not call.safe and (answer.status >= 500 or not says):
                            raise Lost("the answer was a failure")
                        if says and not asked_again(answer.status, document(answer.body)):
                            break
                    failures += 1
                    if failures >= self._patience.most_failures(clock.now()) or not self._patient:
                        if answer is not None:
                            break
                        raise BatchError("the provider's batch interface cannot be reached; call again to resume")
                    yield Sleep(self._patience.after_failures(failures, clock.now()))
                call = flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def download(self, url: str, group: Group) -> Steps[IO[bytes]]:
        """Results, as a file at its beginning, to be closed."""

        def flow() -> Flow[Answer]:
            answer = yield Call("GET", url, spooled=True)
            if answer.status >= 300:
                raise Refused(answer.status, answer.body)
            return answer

        files: list[IO[bytes]] = []
        yield from self._asking_of_one("results could not be read", flow(), group, files)
        files[0].seek(0)
        return files[0]


def refused(what: str, refusal: Refused) -> BatchError:
    """What a refusal is to the caller."""
    return BatchError(f"{what}: status {refusal.status}, {refusal.words}")
