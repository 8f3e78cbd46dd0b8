"""One item's refusals: are they the crowd's, or its own?

A refusal nearly always is about everybody: the gate closes, fewer go at once, and the item gets through when its
turn comes. An item that is refused again and again while others are answered is its own trouble (a prompt above the
account's tokens a minute, say), and each of its refusals would hold everybody up for nothing.

At a server that is simply slow, too, items are refused many times while others are answered; there it is chance who
gets through. So an item is its own trouble when chance no longer explains it: had it fared like the others, in whose
place so many were refused and so many answered, it would hardly have been refused so often in a row. Where no other
is refused, nothing but the item explains its third. Pure: told `now`, chance, and what has been counted.
"""

from __future__ import annotations

from fanmap._policy.limits.brake import given_up

_OWN = 3  # refusals with answers to others between, before which nothing is said of the item
_UNLIKELY = 0.01  # as chance, that it stands back: a mistake costs it seconds
_IMPOSSIBLE = 1e-6  # as chance, that it ends: a mistake costs the item
_LONGEST_PAUSE = 8.0  # seconds between two of its tries that nobody asked for: as of a probe in an outage


class Refusals:
    """The refusals of one item, which has not been answered since.

    A refusal without an answer to others since the one before is no sign either way: where nobody is answered,
    everybody waits, and that says nothing of this item.

    Attributes:
        own: it is the item; its refusals close nothing for others, and it is bounded by its own clock.
    """

    __slots__ = (
        "_answers", "_chance", "_first", "_first_answers", "_first_refusals", "_row", "_told", "own",
    )  # fmt: skip

    def __init__(self) -> None:
        self.own = False
        self._first = 0.0
        self._first_answers: int = 0  # as of its first
        self._first_refusals: int = 0
        self._answers: int = 0  # as of its last
        self._row = 0  # those with an answer to others before each but the first
        self._told = 0  # those that are among the refusals that are counted
        self._chance = 1.0  # of being refused so often in a row, for one that fares like the others

    def again(self, now: float, answers: int, refusals: int) -> bool:
        """It was refused; is it the item by now?

        Args:
            now: the time.
            answers: calls under the same Limits that were answered so far.
            refusals: those that were refused so far, but for items that are their own trouble.
        """
        if not self._row:
            self._first, self._row = now, 1
            self._first_answers, self._first_refusals = answers, refusals
        elif self.own or answers != self._answers:
            self._row += 1
        self._answers = answers
        if self._row >= _OWN:
            answered = answers - self._first_answers
            refused = max(0, refusals - self._first_refusals - self._told)
            self._chance = (refused / (refused + answered)) ** self._row
            self.own = self.own or self._chance < _UNLIKELY
        self._told += not self.own
        return self.own

    def rejoin(self, wait: float | None, now: float, chance: float) -> float:
        """When it asks again, by itself: each time later, and never before the wait that it was told."""
        pause = (0.5 + 0.5 * chance) * min(_LONGEST_PAUSE, 2.0 ** min(self._row - _OWN + 1, 16))
        return now + (max(pause, wait + chance * (0.1 * wait + 0.25)) if wait else pause)

    def too_long(self, when: float, max_wait: float, wait: float | None = None) -> str | None:
        """Why it is not sent again at `when`, if it is not: nobody here wants to wait so long.

        Its own clock decides only where it is surely the item; a server that names a longer `wait` means it.
        """
        if self.own and wait is not None and wait > max_wait:
            return given_up(max_wait, wait, refused=True)
        if self._chance < _IMPOSSIBLE and when - self._first > max_wait:
            return f"refused for max_wait={max_wait!r} s while others were answered"
        return None
