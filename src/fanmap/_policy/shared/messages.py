"""What a process and the ledger say to each other: one `Request`, one `Reply`.

A request is absolute: it says how things are, not what has changed, so that one whose reply was lost may be followed
by another. What happens once (a refusal, an answer, a settlement) is an event with a number, sent until a reply says
that it was taken. Durations are relative to the moment of sending, as only the ledger's clock counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fanmap._policy.shared.document import NEVER, Settings

# Codes of events, which are lists of numbers: [number, code, ...].
REFUSED = 1  # kind, wait (-1: none), epoch, crowd, still, ago, started (ago), max_wait, chance
ANSWERED = 2  # epoch, crowd, limit, how many, started (the last of them, ago)
FAILED = 3  # started (ago), max_wait, chance
SPENT = 4  # ago
SETTLED = 5  # memory, place of the rate, start that was booked, units more (or less) than were booked
UNUSED = 6  # memory, start that was booked, did it lapse (0: it was given back), cost of each rate: nothing started
DENIED = 7  # nothing besides: a call was refused for lack of permission
PRICED = 8  # place of the rate, how many calls, dollars that they cost together
TOLD = 9  # place of the rate (-1: there are none), unit, amount, burst, units a second, window, ago

# Kinds of refusals, as numbers.
OTHER, RATE, CONCURRENCY, RAMP = range(4)

# What a reply says of the request.
TAKEN, STALE, DIFFERENT = range(3)


@dataclass(frozen=True, slots=True)
class Known:
    """What a member remembers of the document, in case the store has lost it.

    Attributes:
        memory: of the document that it knew; 0: none.
        gate: seconds until the gate opens, as far as it knows.
        ceiling, epoch: the ceiling and how often it had been cut.
        rates: of each rate, the seconds until its tat, and the largest cost; of a total, what was spent, what others
            had booked, the mean and how many have told it.
        era: of the totals.
        time: of the document, when it last answered.
    """

    memory: int = 0
    gate: float = NEVER
    ceiling: float = 0.0
    epoch: int = 0
    rates: Sequence[Sequence[float]] = ()
    era: int = 0
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """How things are in one process.

    Attributes:
        id, serial: who, and the how-manieth request of theirs.
        replied: serial of the last one that was answered; age: seconds since it was sent; rest: since the answer came.
        ttl: seconds after which to count this process as gone. leaving: it is gone now.
        settings: what it wants.
        use: slots in use; want: slots it could use, those among them, in the foreground and in the background.
        keep: slots that it will not go beyond, whatever becomes of this request.
        got: number of the last booked start that has arrived.
        asks: costs of the calls that wait for a start and have none, as [how many, cost of each rate...].
        events: what happened, and may have been sent before.
        known: in case the document is another one.
        wake: where to wake it.
        fresh: a random number, for the memory of a new document.
        starts, behind: as in `MemberState`.
        open, paid, settling: as in `MemberState`. counted: of what was paid, what a reply has said was taken. With
            totals these have an entry for each rate, without them none.
    """

    id: int
    serial: int
    settings: Settings
    ttl: float
    replied: int = 0
    age: float = 0.0
    rest: float = 0.0
    leaving: bool = False
    use: int = 0
    want: Sequence[int] = (0, 0)
    keep: int = 0
    got: int = 0
    asks: Sequence[Sequence[Sequence[float]]] = ((), ())
    events: Sequence[Sequence[float]] = ()
    known: Known = Known()
    wake: int = 0
    fresh: int = 1
    open: Sequence[float] = ()
    paid: Sequence[float] = ()
    counted: Sequence[float] = ()
    settling: bool = False
    starts: Sequence[int] = (0, 0)
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What everybody else did, and what it means for one process.

    Attributes:
        serial: of the request. verdict: TAKEN, STALE (a later one came before it: nothing was changed), or DIFFERENT
            (the rates are not those of the others: it is no member).
        memory, now: of the document.
        allow: slots it may use. target: its fair share.
        pressed: give back what is above the target, as calls end. over: more are in use than there are: start nothing.
        scarce: others want more than they have: do not keep what is idle.
        ceiling, maximum, epoch: of everybody. steady: answers change nothing and need not be told.
        outage: everybody waits for one probe.
        since: when the refusals began that no success has followed; NEVER: there are none.
        failing: the same of failures that a repeat might mend; failures: how many of them in a row.
        answers, refusals: as of `brake.Brake`. locked_out: the key is refused.
        spent: when somebody was told that the account is; NEVER: nobody was, or a call succeeded since.
        gate, spread, apart: of everybody.
        elsewhere: slots that the others use, or have and want. waiting: calls that wait there for a slot.
        members, rank: how many, and the how-manieth it is.
        box: starts that are booked for it and that it has not confirmed, as in `MemberState`.
        asked: calls of its foreground and background that are still in line.
        rates: of each rate: tat, largest cost, amount, burst; where the server tells it, window and unit; of a total:
            spent, booked by all, amount twice, mean, how many have told it. era: of the totals.
        untold: nobody was told the server's limits yet, so that one call at a time finds out.
        tight: somebody waits for a total, so that what is settled has to be told at once.
        stuck: this member does, and nobody will settle anything.
        turn: its background has a slot before its foreground. before_telling: starts of its foreground that it makes
            before it has to tell how many there were; 0: nobody counts them.
        told: number of the last event that was taken.
        again: seconds until it has to ask again.
        wake: whom to wake now.
    """

    serial: int
    verdict: int
    memory: int
    now: float
    allow: int = 0
    target: int = 0
    pressed: bool = False
    over: bool = False
    scarce: bool = False
    ceiling: int = 0
    maximum: int = 0
    epoch: int = 0
    steady: bool = True
    outage: bool = False
    since: float = NEVER
    failing: float = NEVER
    failures: int = 0
    answers: int = 0
    refusals: int = 0
    locked_out: bool = False
    spent: float = NEVER
    gate: float = NEVER
    spread: float = 0.0
    apart: float = 0.0
    elsewhere: int = 0
    waiting: int = 0
    members: int = 1
    rank: int = 0
    box: Sequence[Sequence[float]] = ()
    asked: Sequence[int] = (0, 0)
    rates: Sequence[Sequence[float]] = ()
    told: int = 0
    era: int = 0
    tight: bool = False
    stuck: bool = False
    untold: bool = False
    turn: bool = False
    before_telling: int = 0
    again: float = 0.0
    wake: Sequence[int] = field(default_factory=tuple)
