"""Who waits for a run's next result: one reader at a time.

Threads, or tasks, may share one `imap`. One of them is inside the run and waits there for a result; the others wait
here until it has taken it. No lock is held while anything is decided: who has the turn is one entry of a dict, which
`setdefault` fills atomically, and the line is a deque, whose ends are atomic. So nobody blocks here but by waiting
for their turn, and user code that the collector runs in between can do no harm. The one rule that keeps a wake-up
from being lost: whoever gives the turn back, and whoever leaves the line without it while it is free, wakes the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Place:
    """A place in the line; `gone` once nobody waits there."""

    __slots__ = ("gone", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.gone = False


class Turn:
    """The right to wait for the next result. Readers are known by their thread's number, or their task."""

    __slots__ = ("_holder", "_line")

    def __init__(self) -> None:
        self._holder: dict[int, object] = {}  # empty, or {0: who}
        self._line: deque[Place] = deque()

    def take(self, me: object) -> bool:
        """Take it, if nobody else has it."""
        return self._holder.setdefault(0, me) == me

    def held_by(self, me: object) -> bool:
        """Who is inside already, and comes again, as a progress callback may, is not to give it back."""
        return self._holder.get(0) == me

    def give_back(self, me: object) -> None:
        """Let the next one have it; idempotent."""
        if self.held_by(me):
            try:
                self._holder.clear()
            finally:  # Ctrl-C
                self._wake_next()

    def join(self, wake: Callable[[], None]) -> Place:
        """Get in line: `wake`, from any thread, says that `take` may succeed now. Try once more before waiting."""
        place = Place(wake)
        self._line.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Wait no longer, with the turn in hand or without."""
        place.gone = True
        self._wake_next()

    def _wake_next(self) -> None:
        while not self._holder:
            try:
                place = self._line.popleft()
            except IndexError:
                return
            if not place.gone:
                try:
                    place.wake()
                except RuntimeError:  # its loop is closed
                    continue
                return
