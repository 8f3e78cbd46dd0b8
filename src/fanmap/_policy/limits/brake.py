"""What refusals and outages do to everybody under the same Limits.

One call that is told to wait holds all the others for exactly as long: the gate. Refusals that name no wait
are counted in rounds; from the second round without a success the gate closes by itself. Failures in a row
that a repeat might mend are an outage: everybody parks behind one probe. Pure: told `now` and chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST_ROUND = 60.0  # seconds a gate that nobody asked for stays closed at most
_REJOIN = (0.1, 0.5)  # seconds after which a call asks again that was told no wait
_SPREAD = 1.0  # seconds over which starts are spread after the gate has opened
_RAMP_SPREAD = 10.0  # the same where it was the slope that was refused
_OUTAGE = 8  # failures, or calls denied, in a row that are no accident
_LONGEST_BACK_OFF = 60.0  # seconds until an item that has failed asks again, where its `wait` is not the user's own
_LONGEST_PROBE = 8.0  # seconds between probes at most
_LONG_AGO = -1e15  # in a state that others read: never
_FAR = 1e15


@dataclass(frozen=True, slots=True)
class Braked:
    """What to do about one refusal.

    Attributes:
        gate: nothing starts before this time; None: the gate stays as it is.
        spread: seconds over which starts are spread after the gate. apart: at most so far from each other.
        rejoin: when the refused call asks again.
        exhausted: the server has kept everybody waiting for longer than `max_wait`: stop the run.
    """

    gate: float | None
    spread: float
    apart: float
    rejoin: float
    exhausted: bool


def alone(kind: str, wait: float | None, max_wait: float, now: float, chance: float, waited: float = 0.0) -> Braked:
    """What a refused call does by itself, where the brake is told of it later.

    Args:
        kind, wait, now, chance: as of `Brake.refused`.
        max_wait: seconds that the server may keep everybody waiting.
        waited: seconds that it has done so already, as far as is known.
    """
    gate = now + wait if wait else None
    return Braked(gate, *_spread(kind, wait), _rejoin(wait, now, chance), max(wait or 0.0, waited) > max_wait)


def _rejoin(wait: float | None, now: float, chance: float) -> float:
    """Jitter only ever lengthens a wait: a server that says when means it."""
    if wait:
        return now + wait + chance * (0.1 * wait + 0.25)
    return now + _REJOIN[0] + (_REJOIN[1] - _REJOIN[0]) * chance


def _spread(kind: str, wait: float | None) -> tuple[float, float]:
    """Seconds over which starts are spread after a gate, and how far apart they are at most."""
    if kind == "ramp":
        return _RAMP_SPREAD, math.inf
    return 0.0 if kind == "concurrency" else _SPREAD, wait or math.inf


class Brake:
    """The refusals and failures of one Limits since its last success.

    Attributes:
        engaged: something to be told of a success; a caller that succeeds looks here first.
        failures: in a row, that a repeat might mend. failing_since: when the first of them came.
        outage: everybody waits for one probe.
        answers: successes that it was told of: of those between two refusals one at least.
        refusals: that it was told of. since: when the first one since the last success came; None: there is none.
    """

    __slots__ = (
        "_again",
        "_denied",
        "_max_wait",
        "_next",
        "_outage_began",
        "_round_ends",
        "_rounds",
        "answers",
        "engaged",
        "failing_since",
        "failures",
        "outage",
        "refusals",
        "since",
    )

    def __init__(self, max_wait: float, state: Sequence[float] = ()) -> None:
        self._max_wait = max_wait
        self.since: float | None = None
        self._again = 0.0  # when the last of the refused calls asks again
        self._rounds = 0
        self._round_ends = -math.inf  # who began before then is of the same round
        self.failures = 0
        self.failing_since = 0.0
        self._outage_began = 0.0
        self._next = _FAR  # when the next call may go after the last failure
        self._denied = 0  # in a row, in the order they ended
        self.answers = self.refusals = 0
        self.engaged = False
        self.outage = False
        if state:
            since, self._again, self._round_ends, self.failing_since, self._outage_began, *counts, self._next = state
            self.since = None if since <= _LONG_AGO else since
            self._rounds, self.failures, self._denied, self.answers, self.refusals = (int(one) for one in counts[:5])
            self.engaged, self.outage = (bool(one) for one in counts[5:])

    def state(self) -> list[float]:
        """All of it but for `max_wait`, as finite numbers."""
        since = _LONG_AGO if self.since is None else self.since
        times = [since, self._again, max(_LONG_AGO, self._round_ends), self.failing_since, self._outage_began]
        counts = [self._rounds, self.failures, self._denied, self.answers, self.refusals, self.engaged, self.outage]
        return [*times, *(float(count) for count in counts), self._next]

    def refused(
        self, *, wait: float | None, kind: str, fewer: bool = False, started: float, now: float, chance: float
    ) -> Braked:
        """A call that started at `started` was refused.

        Args:
            wait: seconds that the server asked for; None or 0 where it named none.
            kind: of the verdict. "ramp": the slope was refused, so starts are spread further; "concurrency":
                the ceiling sees to it, and spreading would only leave slots empty.
            fewer: the ceiling has answered this refusal, or can; only when it cannot is it a round. Calls that
                were not refused are still being answered meanwhile, which takes longer than a refusal.
            started: when the refused call began.
            now: the time.
            chance: uniform in [0, 1).
        """
        self.engaged = True
        self.refusals += 1
        if self.since is None or started - self._again > self._max_wait:
            # The first; or nobody had asked for so long that the refusals before say nothing about now.
            self.since, self._rounds = now, 0
            self._round_ends = -math.inf
        if not fewer and started >= self._round_ends:
            # The crowd that is refused together comes back over half a second, or when the gate opens:
            # whoever began before then is of the same round, or sixteen calls would be sixteen rounds.
            self._rounds += 1
            self._round_ends = now + _REJOIN[1]
        waited = now - self.since
        spread, rejoin = _spread(kind, wait), _rejoin(wait, now, chance)
        self._again = max(self._again, rejoin)
        if wait:
            gate = now + wait
            self._round_ends = max(self._round_ends, gate)
            return Braked(gate, *spread, rejoin, max(wait, waited) > self._max_wait)
        if self._rounds < 2 and kind != "ramp":
            return Braked(None, *spread, rejoin, waited > self._max_wait)
        gate = now + (0.5 + 0.5 * chance) * min(_LONGEST_ROUND, 2.0 ** min(self._rounds, 16))
        self._again = max(self._again, gate)
        self._round_ends = max(self._round_ends, gate)
        return Braked(gate, *spread, max(gate, rejoin), waited > self._max_wait)

    def failed(self, now: float, chance: float, started: float) -> float | None:
        """A call that began then failed in a way that a repeat might mend; when the next probe may go, or None."""
        self.engaged = True
        if started - self._next > max(self._max_wait, _LONGEST_BACK_OFF):
            # Nobody had asked for so long that the failures before say nothing about now.
            self.failures, self.outage = 0, False
        self._next = now
        if not self.failures:
            self.failing_since = now
        self.failures += 1
        if self.failures < _OUTAGE:
            return None
        if not self.outage:
            self.outage, self._outage_began = True, now
        longest = min(_LONGEST_PROBE, 0.5 * 2.0 ** min(self.failures - _OUTAGE, 8))
        self._next = now + longest * (0.5 + 0.5 * chance)
        return self._next

    def outage_exhausted(self, now: float) -> bool:
        """Has an outage lasted for longer than `max_wait`, from the first failure since the last success?"""
        return self.outage and now - self.failing_since > self._max_wait

    def denied(self) -> bool:
        """A call was refused for lack of permission: is it the key, so that every call will be?

        One item may be off limits, and keys are withdrawn while a run goes on: eight in a row with no success
        between are no accident, before the first success and after it alike.
        """
        self.engaged = True
        self._denied += 1
        return self.locked_out

    @property
    def locked_out(self) -> bool:
        """Have so many calls in a row been refused for lack of permission?"""
        return self._denied >= _OUTAGE

    def succeeded(self, started: float) -> None:
        """A call that began at `started` was answered.

        In an outage it must have begun within it: an answer that was on its way already says nothing about
        the next call, and would let the whole crowd through.
        """
        self.since = None
        self._denied = 0
        self.answers += 1
        if not self.outage or started >= self._outage_began:
            self.failures = 0
            self.engaged = self.outage = False


def gate_beyond(max_wait: float, seconds: float) -> str:
    """Why a call is not made behind a gate that opens in so many seconds, and the number to write."""
    return (
        f"the server asked to wait {seconds:.1f} s more, longer than max_wait={max_wait!r}: "
        f"to wait that long, write Limits(max_wait={math.ceil(seconds)})"
    )


def given_up(max_wait: float, wait: float | None, *, refused: bool) -> str:
    """Why a run is stopped by this call, and the number to write.

    Args:
        max_wait: seconds, of the Limits.
        wait: seconds that the server asked for; None: it named none.
        refused: the server refused to start the call; else it failed.
    """
    if wait is not None and wait > max_wait:
        number = math.ceil(wait)
        return f"the server asked to wait {wait:.1f} s, and max_wait is {max_wait!r}: write Limits(max_wait={number})"
    what = "was refused" if refused else "failed"
    longer = math.ceil(2 * max_wait)
    return f"every call {what} for max_wait={max_wait!r} s: to keep trying for longer, write Limits(max_wait={longer})"
