"""What the processes under one shared name have in common: numbers and random ids, nothing else.

A store keeps one `Document` a name and lets nobody else touch it while one process exchanges a request for a reply
(`ledger.exchange`). Times are seconds of the document's own clock, which never goes back; everything is finite, since
JSON, MessagePack and Lua agree on no infinity. What a field means to whom is told here, who changes it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fanmap._policy.limits.brake import Brake

NEVER = -1e15
"""A time that is always over."""

HORIZON = 0.4  # seconds ahead, at most, that a start is booked
BACKGROUND_HORIZON = 0.05  # the same of the background: whoever comes in the foreground waits for no longer
REQUESTS, TOKENS, DOLLARS = 1, 2, 3  # what a rate may count
FOLLOWED = REQUESTS_TOLD, TOKENS_TOLD, OUTPUT_TOLD = 4, 5, 6  # the same of rates whose amount the server tells
TOTAL = 0.0  # the window of what never refills
FRONT, BACK, TURN = range(3)  # for whom a start is booked; TURN: for the background, before the foreground


@dataclass(frozen=True, slots=True)
class RateSetting:
    """What a process wants of one rate.

    Attributes:
        what: does it count REQUESTS, TOKENS, DOLLARS, one of FOLLOWED, or what another function says (a number made of
            its name)?
        per: the window, in seconds; TOTAL: it never refills. `what` and `per` tell rates apart.
        amount, burst: units, as of a `Rate`.
        refill: units a second that keep the window, with starts that come up to `late` after their time.
        late: seconds.
    """

    what: int
    per: float
    amount: float
    burst: float
    refill: float
    late: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process wants of the ceiling and of the rates; of each number the smallest of any member holds."""

    minimum: int
    start: int
    maximum: int
    rates: tuple[RateSetting, ...] = ()

    def fits(self, kinds: Sequence[RateState | RateSetting]) -> bool:
        """Are these the same rates, whatever their amounts?"""
        return [(rate.what, rate.per) for rate in self.rates] == [(kind.what, kind.per) for kind in kinds]


@dataclass(slots=True)
class RateState:
    """One rate of everybody: GCRA's theoretical arrival time, and what it is made of; or a total.

    Attributes:
        what, per, amount, burst, refill, late: the smallest that any member wants.
        tat: theoretical arrival time of the next unit.
        base: the tat before the first of `cells`; since: starts up to then are in it, and can no longer be settled.
        most: the largest cost that was ever charged.
        cells: [start, units] of what was charged since, put together; the start is the latest of its cell.
        spent: of a total, what is settled, or was lost with a process that had it booked.
        brought: that of `spent` which members knew of a memory that was lost.
        unclaimed: what those had booked who knew that memory and are not back; until `quiet` of the document.
        mean, learnt: of DOLLARS, what calls cost on average, and how many have told it, up to a number.
        unit: of FOLLOWED, what it counts, as a number; 0: nobody was told of it yet.
        window, pace: seconds, and units a second that keep them, as it was told. heard: when that was.
    """

    what: int
    per: float
    amount: float
    burst: float
    refill: float
    late: float
    tat: float = NEVER
    base: float = NEVER
    since: float = NEVER
    most: float = 0.0
    cells: list[list[float]] = field(default_factory=list[list[float]])
    spent: float = 0.0
    brought: float = 0.0
    unclaimed: float = 0.0
    mean: float = 0.0
    learnt: int = 0
    unit: int = 0
    window: float = 0.0
    pace: float = 0.0
    heard: float = NEVER


@dataclass(slots=True)
class MemberState:
    """One process, as the others see it.

    Attributes:
        id: random, made anew by a fork and never used again.
        wake: where to wake it, as its store knows it.
        serial: of its last request; one that comes later with a smaller one is of no use.
        seen: when that was. ttl: its lease, in seconds. ends: when that ends, and it counts as gone.
        woken: when it was last woken by others.
        told: number of the last of its events that was taken.
        settings: what it wants.
        use: slots in use, as it said. want: slots it could use, those in use among them.
        allow: slots it may use. Changed in its own exchange only, so that the sum is safe without any agreement.
        target: its fair share when it was last told. pressed, over: what it was last told of those.
        odd: since when it has one of the slots that do not divide evenly; NEVER: it has none.
        turn: when it last gave one back, or came.
        asks: costs of the calls that wait for a start, in their order, as [how many, cost of each rate...].
        box: starts that were booked for it and that it may not know yet, as [number, FRONT, BACK or TURN, start, cost
            of each rate...].
        boxed: number of the last of them.
        open: with totals, of each rate the units that it has booked, knows of, and has not settled.
        paid: with totals, of each rate what it has settled since it is there.
        settling: has it a call under way that will settle, whatever others do?
        starts: how many calls have started there, in the foreground and in the background, as it said.
        behind: does one of its background wait, for a slot or for a start that is not booked?
        turned: when its background last had the turn, or it came.
    """

    id: int
    settings: Settings
    turn: float
    wake: int = 0
    serial: int = 0
    told: int = 0
    seen: float = NEVER
    ttl: float = 0.0
    ends: float = NEVER
    woken: float = NEVER
    use: int = 0
    want: list[int] = field(default_factory=lambda: [0, 0])
    allow: int = 0
    target: int = 0
    pressed: bool = False
    over: bool = False
    odd: float = NEVER
    asks: list[list[list[float]]] = field(default_factory=lambda: [[], []])
    box: list[list[float]] = field(default_factory=list[list[float]])
    boxed: int = 0
    open: list[float] = field(default_factory=list[float])
    paid: list[float] = field(default_factory=list[float])
    settling: bool = False
    starts: list[int] = field(default_factory=lambda: [0, 0])
    behind: bool = False
    turned: float = NEVER


@dataclass(slots=True)
class Document:
    """All of it.

    Attributes:
        memory: a random number of this document, so that whoever knew another one can tell.
        exchanges: how many there were.
        time: of the last one. skew: what is added to the store's clock to make it go on from there.
        members: in the order in which they came.
        minimum, start, maximum: of the ceiling, the smallest that any member wants.
        ceiling: the state of `adaptive.Ceiling`. brake: of `brake.Brake`.
        gate, spread, apart: as of `admission.Admission`.
        spent: when a member was told that the account is; NEVER: it is not.
        rates: of everybody.
        lines: ids of members that wait for a start, in turn; foreground and background.
        booked: the latest start that was booked.
        quiet: until then `unclaimed` slots may be in the hands of those who knew the memory that was lost.
        era: how often the totals were cleared by somebody: what members knew of an earlier one is not brought.
        passed: starts of the foreground since the background's last, while that waited; see `turns`.
        turn: whose background has the next start; 0: nobody's.
        told: has an answer told somebody the server's limits, or that it tells none?
    """

    memory: int
    exchanges: int = 0
    time: float = 0.0
    skew: float = 0.0
    members: list[MemberState] = field(default_factory=list[MemberState])
    minimum: int = 1
    start: int = 1
    maximum: int = 0
    ceiling: list[float] = field(default_factory=list[float])
    brake: list[float] = field(default_factory=lambda: Brake(0.0).state())
    gate: float = NEVER
    spread: float = 0.0
    apart: float = 0.0
    spent: float = NEVER
    rates: list[RateState] = field(default_factory=list[RateState])
    lines: list[list[int]] = field(default_factory=lambda: [[], []])
    booked: float = NEVER
    quiet: float = NEVER
    unclaimed: int = 0
    era: int = 0
    passed: int = 0
    turn: int = 0
    told: bool = False

    def member(self, number: int) -> MemberState | None:
        """Who has this id."""
        return next((member for member in self.members if member.id == number), None)
