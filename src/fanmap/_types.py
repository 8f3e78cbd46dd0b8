"""Small values that every layer may name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Required, TypeAlias, TypedDict

from typing_extensions import override

from fanmap._usage import NO_USAGE, Usage, in_dollars

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
            with `tpm=`, their results told.
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
        failed: how many of them failed, by the name of the exception's type.
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
        pace = f"{self.attempts} attempts, {self.refused} refused, in {self.seconds:.1f} s"
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


def in_and_out(tokens: Usage) -> str:
    """What calls took, for people."""
    cached = f" ({tokens.cached} of them cached)" if tokens.cached else ""
    return f"{tokens.total} tokens: {tokens.input} in{cached}, {tokens.output} out"


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
    """What every run takes by keyword, beside `return_exceptions`; see `ParallelFunction.map`.

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


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """A provider's batch that is under way.

    Attributes:
        id: the provider's; "" while it is not known whether it was submitted.
        provider: "openai" (and servers like it) or "anthropic".
        url: of the server's interface.
        state: the provider's own word, "" before it was first looked at.
        finished: requests of it that are over, as far as the provider says.
        total: requests in it.
    """

    id: str
    provider: str
    url: str
    state: str
    finished: int
    total: int


LineFate: TypeAlias = Literal["answered", "asked again", "failed", "expired"]
"""What became of a line of a batch; "expired": the provider never answered it."""


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What a call of `batch` came to; `str()` of it is a few lines for people.

    Items are counted whoever has asked for them; the rest is what this call has sent and collected itself.

    Attributes:
        total: items.
        done: items that have their result, or have failed, those in the file included.
        failed: how many of them failed.
        resumed: items whose result was in the file.
        turns: in which something was submitted or waited for.
        batches: that have ended.
        lines: their requests by what became of them: "answered"; "asked again", after a failure that a repeat may
            mend; "failed", which the client sees; "expired", never answered by the provider.
        sent_at_once: requests that could not travel in a batch, at their full price.
        tokens: what the answers took.
        spent: what they cost, in dollars, at the half price of batches; None: no price is known.
        full_price: what the same answers cost outside of batches.
        unpriced: answers that these two leave out, because no price is known for their model.
    """

    total: int
    done: int
    failed: int
    resumed: int
    turns: int
    batches: int
    lines: Mapping[LineFate, int]
    sent_at_once: int
    tokens: Usage
    spent: float | None
    full_price: float | None
    unpriced: int

    @override
    def __str__(self) -> str:
        counts = f"{self.done - self.failed - self.resumed} answered, {self.resumed} resumed, {self.failed} failed"
        if self.done < self.total:
            counts += f", {self.total - self.done} not done"
        said = [counts]
        if self.batches:
            lines = ", ".join(f"{count} {fate}" for fate, count in self.lines.items())
            said.append(f"{_counted(self.turns, 'turn')}, {_counted(self.batches, 'batch')} ended; requests: {lines}")
        if self.sent_at_once:
            said.append(f"{_counted(self.sent_at_once, 'request')} sent at once, at full price")
        if self.tokens.total:
            said.append(in_and_out(self.tokens))
        if self.spent is not None and self.full_price is not None:
            rest = f" ({_counted(self.unpriced, 'answer')} without a known price)" if self.unpriced else ""
            said.append(f"{in_dollars(self.spent)} spent, {in_dollars(self.full_price)} outside of batches{rest}")
        return "\n".join(said)


def _counted(count: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("ch") else f"{word}s"
    return f"{count} {word if count == 1 else plural}"


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Where a batch job stands, as `progress=` of `batch` is told.

    Attributes:
        done: items that have their result, or have failed.
        total: items.
        turn: of this call, from 1; each ends when its batches have.
        batches: that are under way.
        summary: what the call came to, the last time that it is told; before, None.
    """

    done: int
    total: int
    turn: int
    batches: tuple[BatchInfo, ...]
    summary: BatchSummary | None = None

    @override
    def __str__(self) -> str:
        states: dict[str, list[int]] = {}
        for batch in self.batches:
            counts = states.setdefault(batch.state or "submitted", [0, 0, 0])
            counts[0] += 1
            counts[1] += batch.finished
            counts[2] += batch.total
        said = [f"{one[0]} {state} ({one[1]} of {one[2]} requests)" for state, one in states.items()]
        return f"{self.done} of {self.total} items, turn {self.turn}; batches: {', '.join(said) or 'none'}"


class BatchOptions(JournalOptions, total=False):
    """What `batch` and `abatch` take by keyword, beside `return_exceptions`; see `ParallelFunction.batch`.

    Attributes:
        resume: path of the job's file; required.
        unpack: tuples and lists become `*args`, mappings `**kwargs`.
        max_concurrency: items that run at once, as far as they go.
        wait: seconds to wait.
        poll: seconds between looks at the batches.
        max_turns: turns that an item may take.
        only: a request that cannot travel in a batch is an error.
        endpoints: URLs of servers, other than the providers' own, that take batches.
        progress: True, or a callable that is given a `BatchProgress`.
    """

    resume: Required[str | os.PathLike[str]]
    unpack: bool
    max_concurrency: int | None
    wait: float | None
    poll: float | None
    max_turns: int
    only: bool
    endpoints: Sequence[str]
    progress: bool | Callable[[BatchProgress], object] | None
