"""A run with a journal: its inputs get keys, what the file already has is not called, outcomes are written first.

A write stands between an item's end and its result leaving, in the worker that made the call. When the file fails,
the run stops: no further call is paid for whose answer could not be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls import AGAIN, NEW, Caller, Todo
from fanmap._drive.journal import Journal
from fanmap._drive.notices import tell_of_damage
from fanmap._drive.run import Run
from fanmap._drive.worker import Worker
from fanmap._errors import JournalError
from fanmap._policy.journal import Keys, error_line, value_line

RECORDED: Final = 6  # a phase beside those of `calls`: the file has this item's result


@dataclass(frozen=True, slots=True, eq=False)
class Keyed:
    """An input, and the key under which its result is kept; None: it is nothing that can be called."""

    item: Any
    key: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """How a function's items and results are kept.

    Attributes:
        name: of the function, for messages.
        parts: what of an item makes its key; None where it cannot even be called.
        encode: a result as JSON text; an exception where it has none.
        decode: the result again.
    """

    name: str
    parts: Callable[[Any], tuple[Any, ...] | None]
    encode: Callable[[Any], str]
    decode: Callable[[Any], Any]


class Recording:
    """What one run and its journal have to do with each other; the journal is closed with the run."""

    def __init__(self, journal: Journal, keys: Keys, codec: Codec) -> None:
        self._journal = journal
        self._keys = keys
        self._codec = codec
        self._index = 0
        if journal.skipped:
            tell_of_damage(journal.path, journal.skipped)

    def new_worker(self, run: Run) -> Worker:
        """A worker that looks before it calls, and writes before it hands in."""
        return RecordingWorker(run, self)

    def dress(self, item: Any) -> Keyed:
        """The next input, with its key; called in input order, where the input is stepped."""
        index, self._index = self._index, self._index + 1
        parts = self._codec.parts(item)
        if parts is None:
            return Keyed(item, None)
        try:
            return Keyed(item, self._keys.key(*parts))
        except TypeError as error:
            raise TypeError(
                f"input {index} of {self._codec.name} has no key: nothing of a {error} is known to stay the same from "
                "run to run; give key=, a function that makes text of an input"
            ) from error

    def find(self, index: int, key: str) -> tuple[Any] | None:
        """The result that the file has of this item.

        Raises:
            JournalError: it has one that cannot be decoded.
        """
        said = self._journal.find(key)
        if said is None:
            return None
        try:
            return (self._codec.decode(said["value"]),)
        except Exception as error:
            raise JournalError(
                f"resume={self._journal.path!r} has a result for item {index} of {self._codec.name} that cannot be "
                f"decoded ({type(error).__name__}): if the function or its results have changed, change version="
            ) from error

    def write(self, key: str, index: int, seconds: float, value: Any, error: BaseException | None) -> None:
        """Keep an outcome.

        Raises:
            JournalError: the file failed.
            TypeError: this result cannot be kept.
        """
        if error is not None:
            if isinstance(error, Exception):  # else nothing came to an end: it was cancelled
                self._journal.append(error_line(key, index, seconds, error))
            return
        try:
            text = self._codec.encode(value)
        except Exception as failure:
            raise TypeError(
                f"resume= cannot keep the {type(value).__name__} that {self._codec.name} returned for item {index} "
                f"({type(failure).__name__}: {failure}): annotate what the function returns with a dataclass, a "
                "pydantic model or types of JSON, or give encode= and decode="
            ) from failure
        self._journal.append(value_line(key, index, seconds, text))

    def close(self) -> None:
        """The run is over."""
        self._journal.close()


class RecordingWorker(Worker):
    """A worker of a run with a journal."""

    __slots__ = ("_found", "_key", "_recording")

    def __init__(self, run: Run, recording: Recording) -> None:
        super().__init__(run)
        self._recording = recording
        self._key: str | None = None
        self._found: Any = None

    @override
    def _start_item(self) -> Todo:
        keyed: Keyed = self.item
        self.item, self._key = keyed.item, keyed.key
        if keyed.key is not None:
            try:
                found = self._recording.find(self.index, keyed.key)
            except JournalError as error:
                self.run.break_off(error)
                self._drop()
                return AGAIN
            if found is not None:
                (self._found,) = found
                self._release()
                # Through the driver's loop, not by a call from here: a thousand such items would recurse.
                self._phase = RECORDED
                return AGAIN
        return super()._start_item()

    @override
    def step(self) -> Todo:
        if self._phase != RECORDED:
            return super().step()
        value, self._found = self._found, None
        self._phase, now = NEW, clock.now()
        self.tally.resumed += 1
        queued, self.queued = self.queued, now
        return self._next(self.run.hand_in(self, (self.index, value, None, 0, queued, now, now)))

    @override
    def returned(self, value: Any) -> Todo:
        return Caller.returned(self, value)  # not by the short way of nearly every call, which writes nothing

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Todo:
        if self._key is not None and self._calls:
            try:
                self._recording.write(self._key, self.index, clock.now() - self.started, value, error)
            except (JournalError, TypeError) as failure:
                self.run.break_off(failure)
        try:
            return super()._deliver(value, error, stop=stop)
        finally:
            del error
