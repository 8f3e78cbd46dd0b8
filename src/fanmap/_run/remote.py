"""What goes between the command and its worker processes: calls there, outcomes back. Numbers, JSON and names.

An exception does not travel: those of clients cannot be pickled. What the command needs of it does: the name of its
type, its text, and how it is to be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fanmap import NotRun, Verdict
from fanmap._drive.calls.reading import read
from fanmap._drive.journals.codec import NotBegun
from fanmap._policy.failures.verdict import FATAL
from fanmap._raw import full_type_name, is_a, text_of, type_name
from fanmap._run.answers import AnswerNotJson
from fanmap._run.target import Settings
from fanmap._usage import Usage


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker process is for.

    Attributes:
        function: MODULE:FUNCTION. settings: of the command line.
        folder: where the workers keep what they share; the last one to end removes it.
    """

    function: str
    settings: Settings
    folder: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, as far as it is of interest elsewhere."""

    name: str
    full_name: str
    text: str
    verdict: Verdict | None
    not_run: bool = False
    not_json: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of one call, and where its process stands since it began.

    Attributes:
        number: of the call. answer: plain JSON. failure: None: it was answered.
        seconds: that its last attempt took.
        ceiling: calls that may be under way over all processes.
    """

    number: int
    answer: Any
    failure: Failure | None
    seconds: float
    attempts: int
    refused: int
    tokens: Usage
    ceiling: int


class StandIn(Exception):
    """What a call has failed with in a worker process; each kind of exception is a subclass of its name.

    Attributes:
        verdict: how it was read there; None: not at all.
    """

    verdict: Verdict | None = None


class NotRunThere(NotBegun):
    """A call that its worker process did not begin, because nothing was left to start."""


class WorkerDied(StandIn):
    """The process that had this row has died; whether its call did something is not known."""


def failure_of(error: BaseException, classify: Any) -> Failure:
    """In a worker."""
    if is_a(error, NotRun):
        return not_begun(text_of(error))
    verdict = read(error, classify).verdict
    names = type_name(error), full_type_name(error)
    return Failure(*names, text_of(error), verdict, not_json=is_a(error, AnswerNotJson))


def not_begun(text: str) -> Failure:
    """In a worker, of a call that is left."""
    return Failure("NotRun", "NotRun", text, None, not_run=True)


def exception_of(failure: Failure) -> Exception:
    """In the command."""
    if failure.not_run:
        return NotRunThere(failure.text)
    if failure.not_json:
        return AnswerNotJson(failure.text)
    names = {"__module__": "builtins", "__qualname__": failure.full_name}  # which the journal has, as of the original
    error: StandIn = type(failure.name, (StandIn,), names)(failure.text)
    error.verdict = failure.verdict
    return error


def verdict_of(error: BaseException) -> Verdict | None:
    """What of it concerns the command's own run; refusals and outages were waited for where it was raised."""
    if isinstance(error, StandIn) and error.verdict is not None:
        return error.verdict if error.verdict.kind in FATAL else Verdict("permanent")
    return None
