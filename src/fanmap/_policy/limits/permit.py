"""One call's permission to run, from its place in line to its release.

    NEW → WAITING (for a slot) → SLOTTED (slot in hand, for the gate and the rates) → APPOINTED → RUNNING → RELEASED

An appointment is a start that somebody else has arranged: slot and charge are booked, and its call is being woken.
It is taken up (RUNNING), or it lapses: then the call is back in line, at its old place. A permit whose call runs
others under the same Limits is RUNNING and lent. One in the background may go from SLOTTED back to WAITING, for one in
the foreground. A line with an end has TURNED_AWAY who came too late. Pure: a state and its neighbours; `admission`
moves it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Protocol

from typing_extensions import override

from fanmap._policy.limits.rate import Grant

NEW: Final = 0
WAITING: Final = 1
SLOTTED: Final = 2
APPOINTED: Final = 3
RUNNING: Final = 4
RELEASED: Final = 5
TURNED_AWAY: Final = 6


class Owner(Protocol):
    """Who runs a call: one event loop, say. Compared by identity.

    Attributes:
        can_be_blocked: what else it runs may keep it from taking up its appointments, and then all of them at once.
    """

    can_be_blocked: bool

    def gone(self) -> bool:
        """Will it never run again? Its calls are over then, whatever they say."""
        ...


class _Threads:
    can_be_blocked = False

    def gone(self) -> bool:
        return False

    @override
    def __repr__(self) -> str:
        return "THREADS"


THREADS: Final[Owner] = _Threads()
"""Threads that do nothing but one call each: nobody waits for another's."""


def _nobody() -> None:
    """Until somebody waits, there is nobody to wake."""


class Permit:
    """One call's place: in a line, appointed, running on a slot, or having lent it.

    Attributes:
        costs: units to take, one a rate; None: 1 of each.
        anew: what guesses them anew, weakly kept; None once nothing can change them.
        parent: the permit of the call under which this one runs, or None.
        owner: whoever runs the call.
        waker: wakes whoever waits for it, from any thread.
        woken: it was woken. Whoever begins to wait sets `waker` and looks at this one afterwards.
        background: it starts only when nobody in the foreground waits.
        state: one of the seven above.
        place: its number in line, for life: who asked first has the smaller one.
        started: the call was really made, so that its charges stand; set by whoever makes it.
        until: an appointment that was not taken up by then may be given to somebody else.
        crowd, ceiling, epoch: slots in use, how many there were, and the ceiling's epoch, when it was let through.
        slotted: when it got its slot.
        charges: what it was charged, one a rate; empty: nothing, or it is settled.
        lender: whose slot this one runs on.
        lent_to: who runs on this one's slot.
        children: nested calls that wait for a slot.
        reader: who takes the chunks of its stream, a number for each thread and task; 0: it has none, or several.
        stands: until then: its stream has a chunk that was not taken, or the next one was not asked for.
    """

    __slots__ = (
        "anew", "ceiling", "charges", "children", "costs", "crowd", "epoch", "lender", "lent_to", "owner", "parent",
        "place", "reader", "slotted", "stands", "started", "state", "until", "waker", "woken",
    )  # fmt: skip

    background: ClassVar[bool] = False

    def __init__(
        self,
        costs: Sequence[float] | None = None,
        parent: Permit | None = None,
        owner: Owner = THREADS,
        waker: Callable[[], None] = _nobody,
    ) -> None:
        self.costs = costs
        self.anew: Callable[[], Callable[[], Sequence[float] | None] | None] | None = None
        self.parent = parent
        self.owner = owner
        self.waker = waker
        self.woken = False
        self.state: int = NEW
        self.place = 0
        self.started = False
        self.until = 0.0
        self.crowd = 0
        self.ceiling = 0
        self.epoch = 0
        self.slotted = 0.0
        self.charges: Sequence[Grant] = ()
        self.lender: Permit | None = None
        self.lent_to: Permit | None = None
        self.children: OrderedDict[Permit, None] | None = None
        self.reader = 0
        self.stands = False

    def wake(self) -> None:
        """From any thread; RuntimeError when the event loop of whoever waits is closed."""
        self.woken = True  # first: of this and of who begins to wait, one sees the other
        self.waker()

    def waited(self, asked: float, opens_at: float, now: float) -> tuple[float, float, float]:
        """Seconds since it was asked for that went, or go, into the wait for a slot, for the gate and for the rate."""
        if self.state < SLOTTED:
            return max(0.0, now - asked), 0.0, 0.0
        slotted = max(self.slotted, asked)
        at_gate = max(0.0, min(opens_at, now) - slotted)
        return slotted - asked, at_gate, max(0.0, now - slotted - at_gate)


class BackgroundPermit(Permit):
    """One whose call starts only when nobody in the foreground waits."""

    __slots__ = ()

    background = True
