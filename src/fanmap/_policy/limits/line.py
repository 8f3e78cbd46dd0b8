"""A line that is first come, first served, and that nobody holds up by being away.

Who asked first has the smaller number and goes first, also where it comes back after a lapsed appointment. An owner
that is away (an event loop which something blocks) keeps its places and is passed over until it is heard of again.
Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush

from fanmap._policy.limits.permit import Owner, Permit


class Line(dict[Permit, None]):
    """The permits in one line: a dict of them, so that it is quick to look whether there are any.

    Args:
        away: owners to pass over; whoever changes it need not tell.
    """

    __slots__ = ("_away", "_queues")

    def __init__(self, away: Collection[Owner]) -> None:
        super().__init__()
        self._away = away
        # By owner. Permits that have left stay in their owner's queue until they come to its front, with their place.
        self._queues: dict[Owner, list[tuple[int, Permit]]] = {}

    def add(self, permit: Permit) -> None:
        """Into the line, at the place that the permit's number gives it."""
        self[permit] = None
        queue = self._queues.get(permit.owner)
        if queue is None:
            self._queues[permit.owner] = [(permit.place, permit)]
        else:
            heappush(queue, (permit.place, permit))

    def remove(self, permit: Permit) -> bool:
        """Out of the line; False: it was not in it."""
        if permit not in self:
            return False
        del self[permit]
        if not self:
            self._queues.clear()
        return True

    def first_of(self, owner: Owner) -> Permit | None:
        """This owner's first."""
        queue = self._queues.get(owner)
        while queue:
            place, permit = queue[0]
            if place == permit.place and permit in self:  # else it has left, or come back at another place
                return permit
            heappop(queue)
        if queue is not None:
            del self._queues[owner]
        return None

    _first = first_of

    def head(self) -> Permit | None:
        """The first whose owner is not away."""
        if not self:
            return None
        queues = self._queues
        if len(queues) == 1:  # threads, or one event loop
            (owner,) = queues
            return None if owner in self._away else self._first(owner)
        best: Permit | None = None
        for owner in tuple(queues):
            if owner not in self._away:
                first = self._first(owner)
                if first is not None and (best is None or first.place < best.place):
                    best = first
        return best
