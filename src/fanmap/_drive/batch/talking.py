"""The steps of a batch job as values, and its talk with a provider, which is made of them.

A step is yielded, and what came of it is sent back. What a flow wants sent is sent, and repeated where that mends it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final, NamedTuple, TypeAlias, TypeVar

from fanmap._drive import clock
from fanmap._drive.batch.book import Book
from fanmap._drive.batch.posting import Posting
from fanmap._drive.batch.senders import Lost
from fanmap._errors import BatchError
from fanmap._policy.batch.hand_ins import asked_again
from fanmap._policy.batch.question import Group
from fanmap._policy.batch.wire import Answer, Call, Flow, Refused, document

T = TypeVar("T")
_FIRST_POLL: Final = 5.0  # seconds
_LONGEST_POLL: Final = 300.0
_GROWTH: Final = 1.5
_FAILURES: Final = 12  # in a row of one request to a batch interface, some half an hour
_FAILURES_AT_THE_END: Final = 3  # the same, where the caller wants to go


class Pass(NamedTuple):
    """Run these items as far as they go; what became of them is told to the items."""

    indices: Sequence[int]


class Exchange(NamedTuple):
    """Send this; the answer and, where it was spooled, the file."""

    posting: Posting
    call: Call


class Sleep(NamedTuple):
    """Wait, in seconds."""

    seconds: float


Step: TypeAlias = Pass | Exchange | Sleep
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait.

    Attributes:
        until: when the caller wants to go, on our clock; None: never.
        poll: seconds between looks; None: 5, growing to 300.
    """

    until: float | None
    poll: float | None

    def delays(self) -> Generator[float]:
        """Seconds until each next look."""
        delay = self.poll or _FIRST_POLL
        while True:
            yield delay
            if self.poll is None:
                delay = min(delay * _GROWTH, _LONGEST_POLL)

    def after_failures(self, failures: int) -> float:
        """Seconds until a request is sent again that has failed so often."""
        first = self.poll or _FIRST_POLL
        delay = float(min(first * 2 ** (failures - 1), _LONGEST_POLL))
        return delay if self.until is None else min(delay, max(first, self.until - clock.now()))

    def most_failures(self) -> int:
        """So often a request may fail in a row now."""
        return _FAILURES if self.until is None or clock.now() < self.until else _FAILURES_AT_THE_END


class Talk:
    """Through whom a group's batches are handed in and looked after.

    Args:
        book: of the job.
        pace: of its waiting.
        patient: what a repeat may mend is repeated; else everything is sent once, for nobody waits for it.
    """

    def __init__(self, book: Book, pace: Pace, *, patient: bool = True) -> None:
        self._book = book
        self._pace = pace
        self._patient = patient

    def asking(self, what: str, flow: Flow[T], group: Group, files: list[IO[bytes]] | None = None) -> Steps[T]:
        """See a flow through, or end the job with the provider's words.

        Args:
            what: could not be done, where it is refused.
            flow: what is asked.
            group: of whose batch.
            files: gets what was spooled.
        """
        try:
            return (yield from self.through(flow, group, files))
        except Refused as refusal:
            raise refused(what, refusal) from None

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
                        if not call.safe and answer.status >= 500:
                            raise Lost("the answer was a failure")
                        if not asked_again(answer.status, document(answer.body)):
                            break
                    failures += 1
                    if failures >= self._pace.most_failures() or not self._patient:
                        if answer is not None:
                            break
                        raise BatchError("the provider's batch interface cannot be reached; call again to resume")
                    yield Sleep(self._pace.after_failures(failures))
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
        yield from self.asking("results could not be read", flow(), group, files)
        files[0].seek(0)
        return files[0]


def refused(what: str, refusal: Refused) -> BatchError:
    """What a refusal is to the caller."""
    return BatchError(f"{what}: status {refusal.status}, {refusal.words}")
