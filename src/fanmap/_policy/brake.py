"""What refusals and outages do to everybody under the same Limits.

One call that is told to wait holds all the others for exactly as long: the gate. Refusals that name no wait
are counted in rounds; from the second round without a success the gate closes by itself. Failures in a row
that a repeat might mend are an outage: everybody parks behind one probe. Pure: told `now` and chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LONGEST_ROUND = 60.0  # seconds a gate that nobody asked for stays closed at most
_REJOIN = (0.1, 0.5)  # seconds after which a call asks again that was told no wait
_SPREAD = 1.0  # seconds over which starts are spread after the gate has opened
_STEEP_SPREAD = 10.0  # the same where it was the slope that was refused
_OUTAGE = 8  # failures in a row, and first calls denied, that are no accident
_LONGEST_PROBE = 8.0  # seconds between probes at most


@dataclass(frozen=True, slots=True)
class Braked:
    """What to do about one refusal.

    Attributes:
        gate: nothing starts before this time; None: the gate stays as it is.
        spread: seconds over which starts are spread after the gate.
        rejoin: when the refused call asks again.
        exhausted: the server has kept everybody waiting for longer than `max_wait`: stop the run.
    """

    gate: float | None
    spread: float
    rejoin: float
    exhausted: bool


class Brake:
    """The refusals and failures of one Limits since its last success.

    Attributes:
        engaged: something to be told of a success; a caller that succeeds looks here first.
        outage: everybody waits for one probe.
    """

    __slots__ = (
        "_again",
        "_denied",
        "_failures",
        "_max_wait",
        "_outage_began",
        "_proven",
        "_round_ends",
        "_rounds",
        "_since",
        "engaged",
        "outage",
    )

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait
        self._since: float | None = None  # the first refusal since the last success
        self._again = 0.0  # when the last of the refused calls asks again
        self._rounds = 0
        self._round_ends = -math.inf  # who began before then is of the same round
        self._failures = 0
        self._outage_began = 0.0
        self._denied = 0
        self._proven = False  # a call has succeeded
        self.engaged = True  # until the first success, which proves the key
        self.outage = False

    def refused(
        self, *, wait: float | None, kind: str, fewer: bool = False, started: float, now: float, chance: float
    ) -> Braked:
        """A call that started at `started` was refused.

        Args:
            wait: seconds that the server asked for; None or 0 where it named none.
            kind: of the verdict. "steep": the slope was refused, so starts are spread further; "concurrency":
                the ceiling sees to it, and spreading would only leave slots empty.
            fewer: the ceiling has answered this refusal, or can; only when it cannot is it a round. Calls that
                were not refused are still being answered meanwhile, which takes longer than a refusal.
            started: when the refused call began.
            now: the time.
            chance: uniform in [0, 1).

        Jitter only ever lengthens a wait: a server that says when means it.
        """
        self.engaged = True
        if self._since is None or started - self._again > self._max_wait:
            # The first; or nobody had asked for so long that the refusals before say nothing about now.
            self._since, self._rounds = now, 0
            self._round_ends = -math.inf
        if not fewer and started >= self._round_ends:
            # The crowd that is refused together comes back over half a second, or when the gate opens:
            # whoever began before then is of the same round, or sixteen calls would be sixteen rounds.
            self._rounds += 1
            self._round_ends = now + _REJOIN[1]
        waited = now - self._since
        steep = kind == "steep"
        spread = _STEEP_SPREAD if steep else 0.0 if kind == "concurrency" else _SPREAD
        if wait:
            gate = now + wait
            rejoin = gate + chance * (0.1 * wait + 0.25)
            self._again = max(self._again, rejoin)
            self._round_ends = max(self._round_ends, gate)
            return Braked(gate, spread, rejoin, max(wait, waited) > self._max_wait)
        rejoin = now + _REJOIN[0] + (_REJOIN[1] - _REJOIN[0]) * chance
        self._again = max(self._again, rejoin)
        if self._rounds < 2 and not steep:
            return Braked(None, spread, rejoin, waited > self._max_wait)
        gate = now + (0.5 + 0.5 * chance) * min(_LONGEST_ROUND, 2.0 ** min(self._rounds, 16))
        self._again = max(self._again, gate)
        self._round_ends = max(self._round_ends, gate)
        return Braked(gate, spread, max(gate, rejoin), waited > self._max_wait)

    def failed(self, now: float, chance: float) -> float | None:
        """A call failed in a way that a repeat might mend; when the next probe may go, or None: no outage."""
        self.engaged = True
        self._failures += 1
        if self._failures < _OUTAGE:
            return None
        if not self.outage:
            self.outage, self._outage_began = True, now
        longest = min(_LONGEST_PROBE, 0.5 * 2.0 ** min(self._failures - _OUTAGE, 8))
        return now + longest * (0.5 + 0.5 * chance)

    def denied(self) -> bool:
        """A call was refused for lack of permission: is it the key, so that every call will be?"""
        self._denied += 1
        return not self._proven and self._denied >= _OUTAGE

    def succeeded(self, started: float) -> None:
        """A call that began at `started` was answered.

        In an outage it must have begun within it: an answer that was on its way already says nothing about
        the next call, and would let the whole crowd through.
        """
        self._since = None
        self._proven = True
        if not self.outage or started >= self._outage_began:
            self._failures = 0
            self.engaged = self.outage = False
