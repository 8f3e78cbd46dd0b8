"""Small values that every layer may name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from typing_extensions import override

from fanmap._usage import NO_USAGE, Usage, in_and_out, in_dollars

Wait: TypeAlias = Literal["slot", "rate", "gate", "repeat"]


@dataclass(frozen=True, slots=True)
class Stats:
    """Where a Limits or a run stands, at one moment.

    Attributes:
        started: calls that were made, repeats included.
        in_flight: calls under way.
        waiting: calls that wait for a slot, a rate, the gate or their next attempt.
        done: items that ended, the failed ones included; for a Limits also direct calls.
        failed: those that ended with an exception.
        attempts: calls that the server did not refuse to start.
        refused: calls that it did.
        waited_for_slot: seconds that calls waited for one of the slots, added up.
        waited_for_rate: the same for a rate.
        waited_at_gate: the same because the server had told a call to wait.
        waited_to_repeat: the same between attempts.
        abandoned: threads left behind by `timeout=`, which cannot be killed.
        ceiling: calls that may be under way at once, at this moment.
        tokens: what calls that have ended took, so far as their responses were read (`Limits(read_responses=)`), or,
            with `tpm=`, `max_spend=` or `price=`, their results told.
        unseen: calls that returned without a request through a client that is read; 0 where none is.
        spent: what calls that have ended cost, in dollars; counted where `max_spend=` or `price=` was given.
    """

    started: int
    in_flight: int
    waiting: int
    done: int
    failed: int
    attempts: int
    refused: int
    waited_for_slot: float
    waited_for_rate: float
    waited_at_gate: float
    waited_to_repeat: float
    abandoned: int
    ceiling: int
    tokens: Usage
    unseen: int
    spent: float


@dataclass(frozen=True, slots=True)
class Everybody:
    """Where a shared Limits stands over all processes, as its store has it at this moment.

    Attributes:
        members: processes that have it and were heard of within their lease.
        in_flight: calls under way.
        waiting: calls that wait for a slot or a rate.
        ceiling: calls that may be under way at once.
        gate: seconds until calls may start, where a server has told somebody to wait; 0.0: they may.
        spent: seconds since a process was told that the account is out of money or of quota; None: none was, or a
            call has succeeded since.
    """

    members: int
    in_flight: int
    waiting: int
    ceiling: int
    gate: float
    spent: float | None


@dataclass(frozen=True, slots=True)
class RunStats(Stats):
    """Where a run stands, at one moment: as `Stats`, and besides:

    Attributes:
        total: inputs, where the input has a length; None: it has none.
        taken: inputs taken so far.
        seconds: since the run began.
        resumed: items whose result was in the journal (`resume=`) and that were not called.
        waiting_for: what most of the waiting calls wait for: "slot", "rate", "gate" (the server told somebody to
            wait) or "repeat" (their next attempt); None: no call waits.
    """

    total: int | None
    taken: int
    seconds: float
    waiting_for: Wait | None
    resumed: int


NOT_BEGUN = RunStats(0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0, NO_USAGE, 0, 0.0, None, 0, 0.0, None, 0)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to; `str()` of it is a few lines for people.

    Attributes:
        done: items that ended, the failed and the resumed ones included.
        failed: how many of them failed, by the name of the exception's type; "NotRun": how many never started.
        attempts: calls that the server did not refuse to start.
        refused: calls that it did.
        resumed: items whose result was in the journal (`resume=`) and that were not called.
        seconds: from the run's beginning to its end, or to now.
        speedup: how many times as long the same calls would have taken one after the other; 0.0 where none ended.
        slowest: index and seconds of the five calls that took longest, the longest first.
        tokens: what its calls took, so far as responses were read (`Limits(read_responses=)`); else what the results
            tell that were handed out. All 0: nobody said.
        spent: what its calls cost, in dollars; counted where `max_spend=` or `price=` was given.
    """

    done: int
    failed: Mapping[str, int]
    attempts: int
    refused: int
    resumed: int
    seconds: float
    speedup: float
    slowest: tuple[tuple[int, float], ...]
    tokens: Usage
    spent: float

    @override
    def __str__(self) -> str:
        kinds = dict(self.failed)
        not_run = kinds.pop("NotRun", 0)
        failed = sum(kinds.values())
        counts = f"{self.done - failed - not_run - self.resumed} answered, {self.resumed} resumed, {failed} failed"
        if kinds:
            by_kind = sorted(kinds.items(), key=lambda kind: -kind[1])
            counts += f" ({', '.join(f'{count} {kind}' for kind, count in by_kind)})"
        if not_run:
            counts += f", {not_run} not run"
        if self.resumed and self.resumed == self.done:
            return f"{counts}\nno calls: every result was in the journal"
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        pace = f"{attempts}, {self.refused} refused, in {self.seconds:.1f} s"
        if self.speedup >= 1 and self.seconds >= _SOON:  # else it tells of the start-up, or of nothing
            pace += f", speedup {self.speedup:.1f}x"
        said = [counts, pace]
        if self.slowest:
            said.append("slowest: " + ", ".join(f"item {index} {seconds:.1f} s" for index, seconds in self.slowest))
        if self.tokens.total:
            said.append(in_and_out(self.tokens))
        if self.spent:
            said.append(f"{in_dollars(self.spent)} spent")
        return "\n".join(said)


_SOON = 0.1  # seconds: the shortest run of which a speedup says something
NOTHING_DONE = Summary(0, {}, 0, 0, 0, 0.0, 0.0, (), NO_USAGE, 0.0)


class JournalOptions(TypedDict, total=False):
    """What may stand beside `resume=`.

    Attributes:
        key: makes of an input what its result is kept under; needed where an input is of a type whose text does
            not stay the same from run to run. Default: the call's arguments themselves.
        encode: makes plain JSON of a result; None, bool, int, float, str, lists and dicts.
        decode: makes the result again; given together with `encode`.
        version: of the function, counted by you: results kept under another one are not used.
        durable: wait for the disk with every result, so that it survives a power failure too.
    """

    key: Callable[[Any], object]
    encode: Callable[[Any], object]
    decode: Callable[[Any], Any]
    version: str | int | None
    durable: bool


Progress: TypeAlias = bool | Callable[[RunStats], object] | None


class RunOptions(JournalOptions, total=False):
    """What `map`, `amap`, `imap` and `as_completed` take by keyword, beside `return_exceptions` and `max_failures`.

    For a wrapper of your own: `def ask_all(prompts, **options: Unpack[RunOptions])`.

    Attributes:
        unpack: tuples and lists become `*args`, mappings `**kwargs`.
        max_concurrency: calls at once in this run.
        deadline: seconds for the whole run.
        progress: True for a bar, or a callable that is given the stats.
        resume: path of a journal.
        trace: path of a drawing of the run, .html or .json.
    """

    unpack: bool
    max_concurrency: int | None
    deadline: float | None
    progress: Progress
    resume: str | os.PathLike[str] | None
    trace: str | os.PathLike[str] | None
