"""What a batch job knows while it runs: its items, their questions, the file, and through whom to hand in.

Told by the runs of items, from any thread, and asked by the job's own steps, which are one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fanmap._batch_types import BatchInfo
from fanmap._drive import clock
from fanmap._drive.batch.clients import meant_for_all
from fanmap._drive.batch.notices import warn_of_unknown_server
from fanmap._drive.batch.noting import Notes
from fanmap._drive.batch.posting import Posting
from fanmap._drive.batch.senders import Sender
from fanmap._drive.batch.spending import Spending
from fanmap._drive.journals.journal import Journal
from fanmap._drive.journals.recording import Recording
from fanmap._errors import BatchError
from fanmap._policy.batch.hand_ins import ASKS
from fanmap._policy.batch.job import HandIn, Job, answer_line, handed_in_line, intent_line, over_line
from fanmap._policy.batch.ledger import Ledger
from fanmap._policy.batch.question import Group, Question, group_of, item_of
from fanmap._policy.batch.siblings import Patience
from fanmap._policy.batch.wire import Line
from fanmap._policy.journals.journal import read_line


class Book:
    """One job.

    Args:
        journal: its file.
        job: where it stands, as that file has told.
        recording: finds and writes results.
        name: of the function.
        endpoints: the beginnings of URLs, other than the providers' own, whose servers take batches.
        only: a request that cannot travel in a batch stops it.
        ledger: counts what is collected.
        spending: counts dollars; None: nothing bounds them.

    Attributes:
        noted: the questions that this pass has found without an answer.
        postings: of each group that was met.
        homes: the group of each hand-in that an item of this run waits for.
        caps: the most lines of a hand-in, where a provider wants fewer than it says.
        seen: what a provider said last of each hand-in.
        only_meets: items run to show their client, and send nothing.
        stopped: why nothing more is to be done.
        patience: with an item's threads and tasks that are late.
        sent_at_once: requests that could not travel in a batch.
    """

    def __init__(
        self,
        journal: Journal,
        job: Job,
        recording: Recording,
        *,
        name: str,
        endpoints: Sequence[str],
        only: bool,
        ledger: Ledger,
        spending: Spending | None,
    ) -> None:
        self.journal = journal
        self.job = job
        self.recording = recording
        self.name = name
        self.endpoints = endpoints
        self.only = only
        self.ledger = ledger
        self.spending = spending
        self.sent_at_once = 0
        self.only_meets = False
        self._warned = False
        self.patience = Patience()
        self.noted = Notes()
        self.postings: dict[Group, Posting] = {}
        self.homes: dict[str, Group] = {}
        self.caps: dict[Group, int] = {}
        self.seen: dict[str, tuple[str, int, int]] = {}
        self.stopped: BaseException | None = None
        self.refreshing: Group | None = None
        self._replaced: list[Sender] = []
        self._tries: dict[str, int] = {}
        self._given_up: dict[str, tuple[int, Any]] = {}
        self._lock = threading.RLock()  # a finalizer may ask for something in here

    # Told by runs of items

    def answer(self, key: str) -> tuple[int, Any] | None:
        """A question's answer: status and body of the response that it stands for."""
        place = self.job.answers.get(key)
        if place is None:
            place = self.job.failures.get(key)
        if place is None:
            return self._given_up.get(key)
        said = self.journal.read(key, place)
        return None if said is None else (said["status"], said["body"])

    def note(
        self, key: str, index: int, question: Question, headers: Mapping[str, str], sender: Callable[[], Sender]
    ) -> None:
        """An item asks a question that has no answer yet.

        Args:
            key: of the question.
            index: of the item.
            question: what it asks.
            headers: with which.
            sender: makes who sends as its client does.
        """
        unknown = self.spending is not None and key not in self.noted and key not in self.job.asked_in
        cost = self.spending.may_cost(question) if unknown and self.spending is not None else None
        with self._lock:
            group = group_of(question, headers)
            known = self.postings.get(group)
            self.postings[group] = Posting(known.sender if known else sender(), meant_for_all(headers), index)
            if (old := self.refreshing) is not None and old[:6] == group[:6]:
                self._replaced.append(self.postings[old].sender)
                self.postings[old] = Posting(sender(), meant_for_all(headers), index)
                self.refreshing = None
            name = self.job.asked_in.get(key)
            hand_in = None if name is None else self.job.under_way.get(name)
            if hand_in is not None:
                if hand_in.place.root != group.root:
                    self.stop(
                        BatchError(
                            f"a batch of {self.journal.path!r} is in progress at {hand_in.place.root}, but the "
                            f"function now calls {group.root}: give its client that base URL until the batch has ended"
                        )
                    )
                    return
                self.homes.setdefault(hand_in.name, group)
                hand_in.reach_by(group)
                if hand_in.id:
                    return
            try:
                self.noted.add(key, group, question, index, cost)
            except BatchError as error:
                self.stop(error)

    def meet(self, index: int, question: Question, headers: Mapping[str, str], sender: Callable[[], Sender]) -> None:
        """An item's request shows through whom to ask; as `note`, but nothing is asked."""
        with self._lock:
            group = group_of(question, headers)
            if group not in self.postings:
                self.postings[group] = Posting(sender(), meant_for_all(headers), index)

    def meet_unknown_server(self, base: str) -> None:
        """A request goes to the wire because nobody knows that its server takes batches: that is said once."""
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            warn_of_unknown_server(self.name, base)

    def count_sent_at_once(self) -> None:
        """A request goes to the wire: one more."""
        with self._lock:
            self.sent_at_once += 1

    def new_of(self, keys: Sequence[str]) -> list[str]:
        """Those of these questions that would be handed in."""
        return [key for key in keys if key in self.noted and key not in self.job.asked_in]

    def drop(self, keys: Sequence[str]) -> None:
        """These are not to be asked."""
        with self._lock:
            for key in keys:
                self.noted.pop(key, None)

    def check(self) -> None:
        """Raise why nothing more is to be done, if so."""
        if self.stopped is not None:
            raise self.stopped

    def stop(self, why: BaseException) -> None:
        """Nothing more is to be done."""
        self.stopped = self.stopped or why

    # Asked by the job's steps

    def wanted(self) -> list[str]:
        """The questions that are to be handed in: of items that have begun first, then in the order of the inputs."""
        job, noted = self.job, self.noted
        keys = [key for key in noted if key not in job.asked_in]
        if self.spending is not None:
            keys.sort(key=lambda key: (item_of(key) not in job.turns, noted[key].item))
        return keys

    def forget_lines(self) -> None:
        """What is still to be asked is noted anew by the next pass."""
        with self._lock:
            self.noted.forget()

    def close(self) -> None:
        """Nothing more is noted; idempotent."""
        with self._lock:
            self.noted.close()

    def intend(self, hand_in: HandIn) -> None:
        """Write down that this is about to be handed in; on the disk, where it is to be durable."""
        self.journal.check()  # in a file that is gone nobody would find it
        if self.spending is not None:
            self.spending.reserve(hand_in)
        self._write(intent_line(hand_in), sync=True)
        self.job.under_way[hand_in.name].place = hand_in.place

    def handed_in(self, name: str, batch: str) -> None:
        """Write down the provider's id."""
        self._write(handed_in_line(name, clock.wall(), batch), sync=True)

    def over(self, name: str, how: str) -> None:
        """Write down that a batch is over."""
        self._write(over_line(name, clock.wall(), how), sync=True)
        self.homes.pop(name, None)
        self.seen.pop(name, None)
        if self.spending is not None:
            self.spending.over(name)

    def answered(self, line: Line, cost: float | None = None) -> None:
        """Write down a question's answer and its cost in dollars, or a failure that its client is to see."""
        self._write(answer_line(line.key, clock.wall(), line.status or 0, line.body, cost), sync=False)

    def _write(self, line: bytes, *, sync: bool) -> None:
        end = self.journal.append(line)
        if not end:
            raise self.broken()
        said = read_line(line)
        assert said is not None
        self.job.add(said, end - len(line), live=True)
        if sync and self.journal.durable:
            self.journal.wait_for_disk(end)

    def broken(self) -> BaseException:
        """The file has failed, as has been said once."""
        return self.stopped or BatchError(f"{self.journal.path!r} can no longer be written: nothing more is submitted")

    def unanswered(self, key: str) -> bool:
        """A line was no answer: is it to be asked again?"""
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        return tries < ASKS

    def give_up(self, key: str) -> None:
        """A question was never answered, as often as it was asked: its client is told so."""
        text = "The request was in three batches, and none of them answered it."
        self._given_up[key] = 504, {"type": "error", "error": {"type": "timeout_error", "message": text}}

    def senders(self) -> list[Sender]:
        """Everybody who may have sent something."""
        postings, self.postings = self.postings, {}
        replaced, self._replaced = self._replaced, []
        return [*replaced, *(posting.sender for posting in postings.values())]

    def infos(self) -> tuple[BatchInfo, ...]:
        """The batches that are under way."""
        return tuple(
            BatchInfo(one.id, one.provider, one.place.root, *self.seen.get(name, ("", 0, len(one.questions))))
            for name, one in self.job.under_way.items()
            if name in self.homes
        )
