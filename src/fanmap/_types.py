"""Small values that every layer may name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

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
        waiting_for: what most of the waiting calls wait for: "slot", "rate", "gate" (the server told somebody to
            wait) or "repeat" (their next attempt); None: no call waits.
    """

    total: int | None
    taken: int
    seconds: float
    waiting_for: Wait | None


NOT_BEGUN = RunStats(0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0, None, 0, 0.0, None)


class Tally:
    """Counts that one thread writes and any thread may read; several are added up."""

    __slots__ = (
        "abandoned", "at_gate", "backing_off", "done", "failed", "for_rate", "for_slot", "refused", "started",
        "to_repeat",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = self.done = self.failed = self.refused = self.backing_off = self.abandoned = 0
        self.for_slot = self.for_rate = self.at_gate = self.to_repeat = 0.0

    def add(self, other: Tally) -> None:
        """Add the other's counts to these."""
        self.started += other.started
        self.done += other.done
        self.failed += other.failed
        self.refused += other.refused
        self.backing_off += other.backing_off
        self.abandoned += other.abandoned
        self.for_slot += other.for_slot
        self.for_rate += other.for_rate
        self.at_gate += other.at_gate
        self.to_repeat += other.to_repeat
