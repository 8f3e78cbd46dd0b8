"""Small values that every layer may name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunStats:
    """Where a run stands, at one moment.

    Attributes:
        total: inputs, where the input has a length; None: it has none.
        taken: inputs taken so far.
        in_flight: calls under way.
        waiting: items that wait for a slot, a rate or their next attempt.
        done: items that ended, the failed ones included.
        failed: items that ended with an exception.
        attempts: calls that the server did not refuse.
        refused: calls that the server refused to start.
        abandoned: threads left behind by `timeout=`, which cannot be killed.
        seconds: since the run began.
    """

    total: int | None
    taken: int
    in_flight: int
    waiting: int
    done: int
    failed: int
    attempts: int
    refused: int
    abandoned: int
    seconds: float
