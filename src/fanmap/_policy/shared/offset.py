"""How far a process's clock and a document's are apart, narrowed down by every reply."""

from __future__ import annotations

from typing import Final

_DRIFT: Final = 0.0005  # seconds that two clocks may drift apart in one


class Offset:
    """This process's clock less the document's.

    Attributes:
        most: at most. A time of the document is taken to be as late as it may be: a booked start is never early.
        error: by how much it may be less than that.
        at: when it was learnt.
    """

    __slots__ = ("at", "error", "most")

    def __init__(self) -> None:
        self.most = self.error = self.at = 0.0

    def learn(self, theirs: float, sent: float, now: float, *, anew: bool) -> None:
        """The document's clock showed `theirs` at some time from `sent` to `now`; `anew`: it is another document."""
        most, least = now - theirs, sent - theirs
        if not anew:
            drift = _DRIFT * (now - self.at)
            narrow = min(most, self.most + drift), max(least, self.most - self.error - drift)
            if narrow[1] <= narrow[0]:  # else one of the clocks was set meanwhile
                most, least = narrow
        self.most, self.error, self.at = most, most - least, now

    def mine(self, theirs: float) -> float:
        """A time of the document, by this process's clock."""
        return theirs + self.most

    def theirs(self, mine: float) -> float:
        """The same time by the document's clock, at the earliest."""
        return mine - self.most

    def surely(self, now: float) -> float:
        """Seconds that have passed since it was learnt, by any clock."""
        return (1 - _DRIFT) * (now - self.at)
