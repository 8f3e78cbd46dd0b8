"""Who runs and what time it is: one thread at a time, on a clock that jumps when nobody can run.

A thread that would block parks and hands the baton on; the clock moves to the next timer only when no
thread that takes part can run, so that it never jumps past one. Without threads that can run, timers or
a sign from outside, everybody is stuck. What parks (locks, sleeps, event loops) is not known here.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable

_GRACE = 0.3  # real seconds in which a sign from outside may still come before it counts as a deadlock
_NAP = 0.005


class Deadlock(Exception):
    """Raised when nobody can run and no timer is set; the message says who waits, and where."""


class Ended(BaseException):
    """Raised in threads that still wait when virtual time is over. Nobody needs to catch it."""


class Party:
    """One thread that takes part.

    Attributes:
        until: when it goes on by itself.
        look: asked, while it is parked, whether something woke it (an event loop's selector).
        probed: the turn in which it last looked for itself and found nothing; None: it need not look.
        tasks: names the tasks that wait inside it, and where, for a deadlock's message.
        stuck: what a deadlock says, once there is one to be raised here.
    """

    __slots__ = ("baton", "look", "name", "probed", "stuck", "tasks", "thread", "until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.baton = threading.Lock()
        self.baton.acquire()
        self.thread = threading.current_thread()
        self.until = math.inf
        self.look: Callable[[], bool] | None = None
        self.probed: int | None = None
        self.tasks: Callable[[], list[str]] | None = None
        self.stuck: str | None = None


class Baton:
    """The threads that take part, and the clock.

    Args:
        start: the time.
        end: the time at which timers no longer count as hope.
        chance: chooses among the threads that could run; None: who waited longest.
        describe: says who waits where, for the message of a deadlock.
    """

    def __init__(
        self, start: float, end: float, chance: random.Random | None, describe: Callable[[list[Party]], str]
    ) -> None:
        self.now = start
        self.over = False
        self.turn = 0
        self._end = end
        self._chance = chance
        self._describe = describe
        # Re-entrant: the garbage collector may drop a run, and wake its workers, anywhere.
        self._mutex = threading.RLock()
        self._ready: list[Party] = []
        self._parked: dict[Party, None] = {}
        self._here = threading.local()
        self.root = Party("the main thread")
        self._here.party = self.root

    def me(self) -> Party:
        """The party that this thread is."""
        party: Party | None = getattr(self._here, "party", None)
        if party is None:
            raise RuntimeError(
                f"virtual time does not control the thread {threading.current_thread().name!r}: "
                "start it with VirtualTime.start()"
            )
        return party

    def is_here(self) -> bool:
        """Does this thread take part?"""
        return getattr(self._here, "party", None) is not None

    def park(self, until: float, *, unless: Callable[[], bool] | None = None) -> None:
        """Let the others run until woken, or until then; not at all where `unless` says so."""
        me = self.me()
        with self._mutex:
            self._check(me)
            if unless is not None and unless():
                return
            me.until = until
            self._parked[me] = None
        self._hand_on(me)

    def pause(self) -> None:
        """Let others that can run have a turn."""
        me = self.me()
        with self._mutex:
            self._check(me)
            self._listen()
            if not self._ready:
                return
            self._ready.append(me)
        self._hand_on(me)

    def wake(self, party: Party) -> None:
        """It can run (again); from any thread."""
        with self._mutex:
            if party in self._parked:
                del self._parked[party]
                self._ready.append(party)

    def begin(self, party: Party) -> None:
        """A new thread can run; it waits for its first turn with `live`."""
        with self._mutex:
            self._ready.append(party)

    def live(self, party: Party, main: Callable[[], None]) -> None:
        """The life of a thread that takes part."""
        self._here.party = party
        party.baton.acquire()
        try:
            if not self.over:
                main()
        except Ended:
            pass
        finally:
            if not self.over:
                self._next().baton.release()

    def parties(self) -> list[Party]:
        """Who takes part and does not run."""
        with self._mutex:
            return [*self._ready, *self._parked]

    def stop(self) -> None:
        """Nobody waits any longer: everybody else gets `Ended` out of whatever they wait in."""
        with self._mutex:
            self.over = True
            others = [party for party in self.parties() if party is not self.root]
            self._ready.clear()
            self._parked.clear()
        for party in others:
            party.baton.release()

    # Inside

    def _hand_on(self, me: Party) -> None:
        following = self._next()
        if following is not me:
            following.baton.release()
            me.baton.acquire()
        self._check(me)

    def _check(self, me: Party) -> None:
        if self.over and me is not self.root:
            raise Ended
        if me.stuck is not None:
            stuck, me.stuck = me.stuck, None
            raise Deadlock(stuck)

    def _listen(self) -> None:
        """Has something outside woken an event loop? With the mutex held."""
        for party in [party for party in self._parked if party.look is not None]:
            if party.look is not None and party.look():
                self.wake(party)

    def _next(self) -> Party:
        """Who runs now; moves the clock where nobody could."""
        grace = _GRACE
        while True:
            with self._mutex:
                self._listen()
                if self._ready:
                    place = 0 if self._chance is None else self._chance.randrange(len(self._ready))
                    self.turn += 1
                    return self._ready.pop(place)
                for party in self._parked:
                    if party.probed is not None and party.probed != self.turn:
                        party.probed = self.turn
                        del self._parked[party]
                        return party
                when = min((party.until for party in self._parked), default=math.inf)
                if when <= self._end:
                    self.now = max(self.now, when)
                    for party in [party for party in self._parked if party.until <= when]:
                        self.wake(party)
                    continue
                if grace <= 0 or when < math.inf:
                    self._give_up()
                    continue
            time.sleep(_NAP)
            grace -= _NAP

    def _give_up(self) -> None:
        """Nobody can run: the main thread raises."""
        self.root.stuck = self._describe(list(self._parked))
        self.wake(self.root)
