"""Small values that every layer may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from typing_extensions import override

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
        waited_at_gate: the same because the server had told somebody to wait.
        waited_to_repeat: the same between attempts.
        abandoned: threads left behind by `timeout=`, which cannot be killed.
        ceiling: calls that may be under way at once, at this moment.
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


NOT_BEGUN = RunStats(0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0, None, 0, 0.0, None, 0)


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
        tokens: that the replies told of which were handed out; None: none did, or each is only text.
    """

    done: int
    failed: Mapping[str, int]
    attempts: int
    refused: int
    resumed: int
    seconds: float
    speedup: float
    slowest: tuple[tuple[int, float], ...]
    tokens: float | None

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
        pace = f"in {self.seconds:.1f} s, {self.speedup:.1f} times as fast as one after the other"
        said = [counts, f"{self.attempts} attempts, {self.refused} refused, {pace}"]
        if self.slowest:
            said.append("slowest: " + ", ".join(f"item {index} {seconds:.1f} s" for index, seconds in self.slowest))
        if self.tokens is not None:
            said.append(f"{self.tokens:.0f} tokens")
        return "\n".join(said)


NOTHING_DONE = Summary(0, {}, 0, 0, 0, 0.0, 0.0, (), None)
_SLOWEST = 5


class Tally:
    """Counts that one thread writes and any thread may read; several are added up."""

    __slots__ = (
        "abandoned", "at_gate", "backing_off", "bar", "busy", "done", "failed", "for_rate", "for_slot", "refused",
        "resumed", "slowest", "started", "to_repeat",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = self.done = self.failed = self.refused = self.backing_off = self.abandoned = 0
        self.resumed = 0
        self.busy = self.bar = 0.0
        self.slowest: list[tuple[float, int]] = []
        self.for_slot = self.for_rate = self.at_gate = self.to_repeat = 0.0

    def add(self, other: Tally) -> None:
        """Add the other's counts to these."""
        self.started += other.started
        self.done += other.done
        self.failed += other.failed
        self.refused += other.refused
        self.backing_off += other.backing_off
        self.abandoned += other.abandoned
        self.resumed += other.resumed
        self.busy += other.busy
        if other.slowest and other.slowest[0][0] > self.bar:
            self._keep([*self.slowest, *other.slowest])
        self.for_slot += other.for_slot
        self.for_rate += other.for_rate
        self.at_gate += other.at_gate
        self.to_repeat += other.to_repeat

    def note(self, index: int, seconds: float) -> None:
        """An item's call took longer than `bar`: one of the slowest so far."""
        self._keep([*self.slowest, (seconds, index)])

    def _keep(self, calls: list[tuple[float, int]]) -> None:
        self.slowest = sorted(calls, reverse=True)[:_SLOWEST]
        if len(self.slowest) == _SLOWEST:
            self.bar = self.slowest[-1][0]


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
