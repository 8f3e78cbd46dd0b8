"""A run and its journal: inputs get keys, what the file has of them is found, and outcomes are written.

When, is `recording_worker`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fanmap._drive import clock
from fanmap._drive.journals.codec import Codec, KeyedInput, NotBegun, NotKept, Undecodable, Unfit
from fanmap._drive.journals.disk_waits import DiskWaits
from fanmap._drive.journals.journal import Journal
from fanmap._drive.journals.recording_worker import RecordingWorker
from fanmap._drive.notices import log_resumed, warn_of_damage, warn_of_unfit_results
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.worker import Worker
from fanmap._errors import JournalError
from fanmap._policy.journals.journal import Keys, error_line, value_line
from fanmap._policy.journals.kept import Spent
from fanmap._raw import is_a

if TYPE_CHECKING:
    from fanmap._drive.journals.paid_again import PaidAgain


class Recording:
    """What one run and its journal have to do with each other; the journal is closed with the run."""

    def __init__(self, journal: Journal, keys: Keys, codec: Codec) -> None:
        self._journal = journal
        self._keys = keys
        self._codec = codec
        self._index = 0
        self._unfit: list[int] = []  # indices, from any thread; and the next as well
        self._unstored: list[int] = []
        self._disk_waits: DiskWaits | None = None
        self._paid_again: PaidAgain | None = None
        if journal.under_way:
            from fanmap._drive.journals.paid_again import PaidAgain  # only where there are batches

            self._paid_again = PaidAgain(journal.path, codec.name, journal.under_way)
        if journal.skipped:
            warn_of_damage(journal.path, journal.skipped)
        if len(journal):
            log_resumed(codec.name, journal.path, len(journal))

    def new_worker(self, run: Run) -> Worker:
        """A worker that looks before it calls, and writes before it hands in."""
        return RecordingWorker(run, self)

    def attach_key(self, item: Any) -> KeyedInput:
        """The next input, with its key; called in input order, where the input is stepped."""
        index, self._index = self._index, self._index + 1
        return self._codec.attach_key(item, index, self._keys)

    @property
    def failure(self) -> JournalError | None:
        """How the file has failed: a worker that was told by an exception may not have come to stop the run yet."""
        return self._journal.failure

    @property
    def closed(self) -> bool:
        """Is the run over, and nothing found or written any more?"""
        return not self._journal.usable

    def find(self, index: int, key: str) -> tuple[Any] | None:
        """The result that the file has of this item; None where it has none, or one that must be asked for again.

        Raises:
            JournalError: it has one that the user's `decode` cannot read.
        """
        said = self._journal.find(key)
        if said is None:
            return None
        try:
            return (self._codec.from_kept(said, index),)
        except Unfit:
            self._unfit.append(index)
            return None
        except Undecodable as error:
            raise JournalError(f"resume={self._journal.path!r} {error}") from error.__cause__

    def look(self, key: str) -> None:
        """This item is about to be called, outside of a batch: where one has it under way, that is said once."""
        if self._paid_again is not None:
            self._paid_again.look(key)

    def write(self, key: str, index: int, seconds: float, value: Any, error: BaseException | None, spent: Spent) -> int:
        """Write an outcome.

        Args:
            key: of the item.
            index: of the item.
            seconds: that its call took; it has just ended.
            value: its result.
            error: its failure, in place of a result.
            spent: by its calls.

        Returns:
            How far the disk must have come until it counts; 0: it need not.

        Raises:
            JournalError: the file failed.
            TypeError: this result cannot be kept.
        """
        began = clock.wall() - seconds
        if error is not None:
            if not is_a(error, Exception) or is_a(error, NotBegun):  # nothing came to an end: it was cancelled
                return 0
            return self._append(error_line(key, index, began, seconds, error, spent=spent))
        try:
            text, exact = self._codec.to_text(value, index)
        except NotKept as failure:
            self._unstored.append(index)
            return self._append(error_line(key, index, began, seconds, failure, spent=spent))
        except TypeError:
            self._unstored.append(index)
            raise
        return self._append(value_line(key, index, began, seconds, text, as_is=not exact, spent=spent))

    def _append(self, line: bytes) -> int:
        end = self._journal.append(line)
        return end if self._journal.durable else 0

    @property
    def path(self) -> str:
        """Where the file is, seen from everywhere."""
        return self._journal.absolute

    def wait_for_disk(self, end: int) -> None:
        """Block until the disk has everything up to there.

        Raises:
            JournalError: it failed.
        """
        self._journal.wait_for_disk(end)

    def wake_when_synced(self, wake: Callable[[], None]) -> None:
        """The same for a worker that must not block: it is woken, and asks `synced`."""
        if self._disk_waits is None:
            self._disk_waits = DiskWaits(self._journal)
        self._disk_waits.wake_when_synced(wake)

    def synced(self, end: int) -> bool:
        """Has the disk everything up to there?

        Raises:
            JournalError: it failed.
        """
        return self._journal.synced(end)

    def check(self) -> None:
        """A worker of the run ends, perhaps the last one.

        Raises:
            JournalError: the file is not where it was.
        """
        self._journal.check()

    def note(self, results: int) -> str | None:
        """What the exception that ends a run with so many results is to say of them; None: nothing, none is sure."""
        if self._journal.broken:
            return None
        kept = results - len(self._unstored)
        first = "after fixing that, " if self._unstored else ""  # else it would pay again and stop again
        return f"fanmap: results kept in {self._journal.path!r}: {kept}; {first}run the same call again to resume"

    def close(self) -> None:
        """The run is over; idempotent."""
        self._journal.close()
        unfit, self._unfit = self._unfit, []
        if unfit:
            warn_of_unfit_results(self._journal.path, len(unfit), self._codec.name)
