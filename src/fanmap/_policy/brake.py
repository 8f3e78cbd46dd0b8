"""What a refusal does to everybody under the same Limits.

One call that is told to wait holds all the others for exactly as long: the gate. Refusals that name no
wait are counted in rounds; from the second round without a success the gate closes by itself. Pure: told
`now` and chance.
"""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_ROUND = 60.0  # seconds a gate that nobody asked for stays closed at most


@dataclass(frozen=True, slots=True)
class Braked:
    """What to do about one refusal.

    Attributes:
        gate: nothing starts before this time; None: the gate stays as it is.
        rejoin: when the refused call asks again.
        exhausted: the server has kept everybody waiting for longer than `max_wait`: stop the run.
    """

    gate: float | None
    rejoin: float
    exhausted: bool


class Brake:
    """The refusals of one Limits since its last success.

    Attributes:
        engaged: at least one refusal since the last success; a caller that succeeds looks here first.
    """

    __slots__ = ("_max_wait", "_round_began", "_rounds", "_since", "engaged")

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait
        self.engaged = False
        self._since = 0.0
        self._rounds = 0
        self._round_began = 0.0

    def refused(self, *, wait: float | None, started: float, now: float, chance: float) -> Braked:
        """A call that started at `started` was refused.

        Args:
            wait: seconds that the server asked for; None where it named none.
            started: when the refused call began; a crowd that was refused together is one round.
            now: the time.
            chance: uniform in [0, 1).

        Jitter only ever lengthens a wait: a server that says when means it.
        """
        if not self.engaged:
            self.engaged = True
            self._since = now
            self._rounds = 0
        if self._rounds == 0 or started >= self._round_began:
            self._rounds += 1
            self._round_began = now
        waited_out = now - self._since
        if wait is not None:
            gate = now + wait
            rejoin = gate + chance * (0.1 * wait + 0.25)
            return Braked(gate, rejoin, max(wait, waited_out) > self._max_wait)
        rejoin = now + 0.1 + 0.4 * chance
        if self._rounds < 2:
            return Braked(None, rejoin, waited_out > self._max_wait)
        gate = now + (0.5 + 0.5 * chance) * min(_LONGEST_ROUND, 2.0 ** min(self._rounds, 16))
        return Braked(gate, max(gate, rejoin), waited_out > self._max_wait)

    def succeeded(self) -> None:
        """A call under these Limits was answered."""
        self.engaged = False
