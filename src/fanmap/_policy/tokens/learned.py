"""An estimate that learns: what calls took beyond what was guessed is added to the next guess.

Pure.
"""

from __future__ import annotations

_MEMORY = 100
"""Calls after which an old one has faded: prompts of one kind are soon known, and a change of kind is followed."""


class Correction:
    """The mean of what was settled minus what was estimated.

    Attributes:
        mean: that, in units of the rate; 0 until something is settled.
    """

    __slots__ = ("_settled", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self._settled = 0

    def learn(self, estimated: float, settled: float) -> None:
        """A call that was guessed to take so much took so much in fact.

        Args:
            estimated: the guess as it was made, without the correction.
            settled: what it took.
        """
        self._settled = min(self._settled + 1, _MEMORY)
        self.mean += (settled - estimated - self.mean) / self._settled

    def corrected(self, estimated: float, most: float) -> float:
        """The guess to charge: never below 0, nor above `most`, which is all that a window has."""
        return min(most, max(0.0, estimated + self.mean))
