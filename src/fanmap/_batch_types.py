"""Small values of batches that every layer may name: where one stands, what it came to, what it takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Required, TypeAlias

from typing_extensions import override

from fanmap._types import JournalOptions
from fanmap._usage import Usage, in_and_out, in_dollars


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
        turn: of this call, from 1, counted as in `BatchSummary`: one begins when something was submitted, or is waited
            for, and ends when its batches have. 0: none has begun.
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
        turn = f", turn {self.turn}" if self.turn else ""
        return f"{self.done} of {self.total} items{turn}; batches: {', '.join(said) or 'none'}"


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
