"""One budget for everything that talks to one account.

Takes turns with admission, ceiling and brake, and wakes whoever may start; what may start is `_policy.admission`'s
decision, what a refusal means `_policy.brake`'s. Bound to no event loop and to no thread.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from fanmap._drive import clock, telemetry
from fanmap._drive.books import BUSY
from fanmap._drive.notices import Line
from fanmap._drive.on_top import GIVE_WAY, somebody_waits, stuck
from fanmap._drive.scope import Scope, enclosing
from fanmap._drive.spending import Spending
from fanmap._errors import Busy, NotRun
from fanmap._policy.adaptive import Adaptive, Ceiling, Change
from fanmap._policy.admission import Admission
from fanmap._policy.brake import Brake, Braked, about_crowd, alone, gate_beyond
from fanmap._policy.door import Door, Pace
from fanmap._policy.followed import UNLIMITED, Followed
from fanmap._policy.learned import Correction
from fanmap._policy.money import Money, is_dollars
from fanmap._policy.news import News
from fanmap._policy.permit import APPOINTED, NEW, RELEASED, RUNNING, SLOTTED, WAITING, Owner, Permit
from fanmap._policy.quotas import Quota
from fanmap._policy.rate import Rate, takes_one
from fanmap._policy.signals import Verdict
from fanmap._policy.token_rates import is_tokens
from fanmap._types import Everybody, Retired, Stats, Tally

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

    from fanmap._drive.responses import Account, Reader

_BETWEEN_SWEEPS = 0.25  # seconds in which it is not looked again for calls of lost loops
_UNSETTLED = 20  # calls after which it is said that none has told what it took


def counts(tally: Tally) -> dict[str, Any]:
    """A tally as the fields of `Stats` that it fills."""
    return {
        "started": tally.started + tally.inside_repeated,
        "done": tally.done,
        "failed": tally.failed,
        "attempts": tally.started + tally.inside_repeated - tally.refused - tally.inside_refused,
        "refused": tally.refused + tally.inside_refused,
        "waited_for_slot": tally.for_slot,
        "waited_for_rate": tally.for_rate,
        "waited_at_gate": tally.at_gate,
        "waited_to_repeat": tally.to_repeat,
        "abandoned": tally.abandoned,
        "tokens": tally.tokens,
        "unseen": tally.unseen,
        "spent": tally.spent,
    }


class Hiring:
    """How many workers a run may have."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit = 1


class Budget(Spending):
    """The state behind one `Limits`: admission, ceiling and brake, and the books around them.

    Attributes:
        followed: the limits that a server tells; None: nobody wants to know.
        limiters: users' own AsyncLimiters, awaited last by calls on an asyncio loop.
        classify: a user's own reading of an exception.
        observe: begins to read the responses to an attempt's requests.
        counts_tokens: one of the rates is of tokens.
        admission: who may start; outside of the books only `quiet`, `steady` and numbers may be read.
        hiring: how many workers a run may have: one a slot, also of those that come once a server has told its limits.
        history: how the ceiling moved, the last thousand times; read it with `changes`.
        max_wait: seconds that a server may keep everybody from working.
        max_waiting: calls of the foreground that may wait for a slot; None: any number.
        pace: how long calls keep their slots; told only where `max_waiting` is a number.
        random: chance, for jitter; seeded by tests.
    """

    __slots__ = (
        "_brake", "_ceiling", "_let_out", "_locked_out", "_missing_told", "_news", "_outage_exhausted", "_retired",
        "_settings", "_swept", "_tallies", "_timed", "_told", "_unsettled", "classify", "counts_tokens", "followed",
        "hiring", "history", "limiters", "max_concurrency", "max_wait", "max_waiting", "observe", "pace", "random",
    )  # fmt: skip

    def __init__(
        self,
        max_concurrency: Adaptive,
        rates: Sequence[Rate],
        limiters: Sequence[AsyncLimiter],
        max_wait: float,
        classify: Callable[[BaseException], Verdict | None] | None,
        *,
        reads: bool = False,
        max_waiting: int | None = None,
        followed: Followed | None = None,
        money: Money | None = None,
    ) -> None:
        self.max_waiting = max_waiting
        self.pace = Pace()
        self.max_concurrency = max_concurrency.maximum
        first = len(rates) if followed is None else followed.first
        self.rates = [*rates[:first], *(() if followed is None else followed.rates), *rates[first:]]
        self.followed = followed
        self.money = money
        self.has_totals = any(rate.per == math.inf for rate in rates)
        self._missing_told = [None]  # until somebody has it
        self.limiters = limiters
        self.classify = classify
        self.reads = reads
        self.observe: Callable[..., Reader] = self._observe
        # Of dollars nothing is guessed: the mean of what was settled is the guess.
        self.corrections = [Correction() if is_tokens(rate) or is_dollars(rate) else None for rate in self.rates]
        self.counts_tokens = any(map(is_tokens, self.rates))
        self.counts_calls = all(map(takes_one, self.rates))
        self._unsettled: list[None] | None = [] if self.counts_tokens else None
        self.random = random.Random()
        self._settings = max_concurrency
        self.max_wait = max_wait
        self._told: list[None] = [None]  # until somebody has it
        self.history: deque[Change] = deque(maxlen=1000)
        super().__init__()

    def __del__(self) -> None:
        if telemetry is not None and telemetry.found is not None and hasattr(self, "admission"):
            telemetry.found.bury(self.stats())

    @override
    def free(self) -> None:
        """Nobody in line, nothing held: a new budget, or the child of a fork, where no other thread lives."""
        super().free()
        self.hiring = Hiring()
        self._ceiling = Ceiling(self._settings)
        self._brake = Brake(self.max_wait)
        before: Admission | None = getattr(self, "admission", None)
        self.admission = Admission(self._ceiling.limit, self.rates)
        for place, total in self.admission.totals.items():
            total.usual = self.corrections[place] if is_dollars(total.rate) else None
            if before is not None and place in before.totals:
                # A fork does not make it undone.
                total.spent, total.aside = before.totals[place].spent, before.totals[place].aside
        self._locked_out = self._outage_exhausted = False
        self._swept = -math.inf
        self._timed: Permit | None = None  # the head of the line, which holds a timer
        self._let_out: set[Permit] = set()  # over the limit, for threads that wait on top of ours
        self._news = News()
        self._retired = Retired()
        self._tallies: dict[object, Tally] = {}
        self._adjust("")

    # A call's way, from its place in line to its release

    def join(self, permit: Permit, around: Scope | None) -> bool:
        """Get in line, to borrow from the call around this one where there is one; True: it may run now."""
        if self.do(self._join, permit, around, True) is BUSY:
            if self.held_here():
                return self.admit_over_limit(permit)
            self.post(self._join, permit, around, False)
        return permit.state == RUNNING

    def knock(self, permit: Permit, door: Door) -> bool:
        """As `join`, where the line has an end: False may also mean that it is full, and the permit TURNED_AWAY."""
        if self.do(self._knock, permit, door, True) is BUSY:
            if self.held_here():
                return self.admit_over_limit(permit)
            self.post(self._knock, permit, door, False)
        return permit.state == RUNNING

    def busy(self, permit: Permit) -> Busy:
        """What the one is told that was turned away."""
        now = clock.now()
        ages = self.do(self.admission.ages, now)
        seconds = self.pace.one_place(self.admission.limit, () if ages is BUSY else ages)
        for place, rate in enumerate(self.rates):
            cost = 1.0 if permit.costs is None else permit.costs[place]
            if math.isfinite(rate.per):
                seconds = max(seconds, cost * rate.per / rate.amount)
        return Busy(max(seconds, self.admission.opens_at() - now), self.max_waiting or 0)

    def look(self, permit: Permit) -> bool:
        """A waiting call was woken, or its patience is over: may it run now? Where the books are taken, it is woken."""
        if self.do(self._look, permit) is BUSY:
            self.post(self._remind, permit)
        return permit.state == RUNNING or self._gives_way(permit)

    def patience(self, permit: Permit) -> float | None:
        """Seconds a waiting call may sleep; None: until it is woken."""
        answer = self.do(self._patience, permit)
        if answer is BUSY:
            self.post(self._remind, permit)
            return GIVE_WAY
        if somebody_waits():
            return GIVE_WAY if answer is None else min(answer, GIVE_WAY)
        return answer  # type: ignore[no-any-return]

    @override
    def look_again(self) -> None:
        """Have all who wait here look again; without opening the books."""
        for permit in self.admission.in_line():
            with suppress(RuntimeError):  # its event loop is closed
                permit.wake()

    def admit_over_limit(self, permit: Permit) -> bool:
        """It can't ask, or nobody could end its wait (see `on_top`): it runs, is counted and charged when it can be."""
        permit.state = RUNNING
        self.post(self._count_over_limit, permit)
        return True

    def release(self, permit: Permit, actual: Sequence[float | None] | None = None) -> None:
        """Out of line and of the slot, settled. Never blocks; idempotent, also when it was interrupted half-way."""
        if self._let_out:
            self._let_out.discard(permit)
        self.post(self._release, permit, actual)

    def renew(self, permit: Permit, actual: Sequence[float | None] | None, costs: Sequence[float] | None) -> bool:
        """Between two calls of one worker: settle, then keep the slot and charge the next; False: released instead."""
        kept = self.do(self._renew, permit, actual, costs)
        if kept is BUSY:
            self.release(permit, actual)
            return False
        return kept  # type: ignore[no-any-return]

    def claim(
        self, scope: Scope, costs: Sequence[float] | None, wake: Callable[[], None], owner: Owner
    ) -> Permit | None:
        """The slot and charge of the call around this one, if they are transferable; once.

        RUNNING, it may run now; else it waits for what it costs more than the call around it was charged.
        """
        permit = scope.claim()
        if permit is None:
            return None
        scope.permit = None
        permit.wake, permit.owner = wake, owner
        if costs is not None:
            permit.state = NEW  # until it is charged
            if self.do(self._charge_anew, permit, costs, permit) is BUSY:
                self.post(self._charge_anew, permit, costs, None)
        return permit

    # What the server said

    def refused(self, verdict: Verdict, permit: Permit, started: float, *, repeated: bool = False) -> Braked:
        """The server refused to start a call: hold everybody as long as it says, and send fewer at once.

        `repeated`: its client had sent it again by itself, which no rate of ours paces.
        """
        chance = self.random.random()
        braked = self.do(self._refused, verdict, permit, started, chance, repeated)
        if braked is BUSY:
            # Whoever has the books closes the gate; what this one call does next, it can tell by itself.
            self.post(self._refused, verdict, permit, started, chance, repeated)
            return alone(verdict.wait, clock.now(), chance)
        return braked  # type: ignore[no-any-return]

    def answered(self, permit: Permit, started: float) -> None:
        """A call that began then succeeded, and admission is not steady."""
        self.post(self._answered, permit, started)

    def failed(self, started: float) -> bool:
        """A call that began then and will be repeated failed: in an outage, everybody waits for one probe.

        True: the outage has lasted for longer than anybody here wants to wait.
        """
        self.post(self._failed, started, self.random.random())
        return self._outage_exhausted

    def denied(self) -> bool:
        """A call was refused for lack of permission: will every call be?"""
        self.post(self._denied)
        return self._locked_out

    def fates(self) -> tuple[int, int]:
        """How many calls were answered so far, where somebody wanted to know, and how many were refused."""
        return self._brake.answers, self._brake.refusals

    def refused_before(self, started: float) -> bool:
        """Was a call refused before this one began, and nobody answered since?"""
        return self._brake.since is not None and self._brake.since < started

    def outage(self) -> bool:
        """Do all wait for one probe?"""
        return self._brake.outage

    def failures_in_a_row(self) -> int:
        """Failures that a repeat might mend, since the last success of anybody."""
        return self._brake.failures

    def begin_run(self, run: Any) -> None:
        """A run begins, and may be stopped from outside where the limits are not this process's alone."""

    def spent(self) -> None:
        """The account is; others may want to know."""

    def ceiling(self) -> int:
        """How many calls may be under way at once."""
        return self.admission.limit

    def everybody(self) -> Everybody:
        """Where it stands over all processes: this one."""
        stats = self.stats()
        gate = max(0.0, self.admission.opens_at() - clock.now())
        return Everybody(1, stats.in_flight, stats.waiting, stats.ceiling, gate, None)

    def obstacle(self) -> tuple[str, Exception]:
        """Why nothing starts, where that is `hopeless`: to say of an item that has run, and for one that has not."""
        reason = gate_beyond(self.max_wait, self.hopeless() or 0.0)
        failure = NotRun(reason)
        # Not the refusal itself: its traceback would keep another run alive for as long as the gate is closed.
        failure.__cause__ = TimeoutError(reason)
        return reason, failure

    def hopeless(self) -> float | None:
        """Seconds that the gate stays closed, where that is longer than `max_wait`."""
        closed = self.admission.opens_at() - clock.now()
        return closed if closed > self.max_wait else None

    def refused_inside(self, verdict: Verdict, permit: Permit, started: float, tally: Tally) -> None:
        """The server refused a request of a call under way, whatever becomes of that call."""
        self.post(self._refused_inside, verdict, permit, started, tally, self.random.random())

    def repeated_inside(self, tally: Tally) -> None:
        """A client has sent a request of a call under way again by itself."""
        self.post(self._repeated_inside, tally)

    def told_quotas(self, quotas: Sequence[Quota]) -> list[str]:
        """An answer has told these limits, or none; which of "rpm" and "tpm" it turns out that nobody will be told."""
        followed = self.followed
        if followed is None or not followed.news(quotas):
            return []
        self.post(self._told_quotas, quotas)
        if followed.untold or not self._missing_told:
            return []
        try:
            self._missing_told.pop()
        except IndexError:
            return []
        return followed.missing()

    def _observe(self, account: Account, *, repeats: bool) -> Reader:
        from fanmap._drive.responses import observe  # by the first call that needs it

        self.observe = observe
        return observe(account, repeats=repeats)

    # What it has come to

    def settles_nothing(self, *, settled: bool) -> bool:
        """A call that was charged tokens has ended: is it the last of the first 20, and none has said what it took?"""
        unsettled = self._unsettled
        if unsettled is None:
            return False
        if settled:
            self._unsettled = None
            return False
        unsettled.append(None)
        if len(unsettled) < _UNSETTLED:
            return False
        self._unsettled = None
        return True

    def tell_once(self) -> bool:
        """Has it not been said yet that a client repeats by itself?"""
        try:
            self._told.pop()
        except IndexError:
            return False
        return True

    def tally_of(self, key: object) -> Tally:
        """The counts that this key's one thread writes, from now until it is retired."""
        tally = self._tallies.get(key)
        return self._tallies.setdefault(key, Tally()) if tally is None else tally

    def retire(self, key: object) -> None:
        """The counts under this key are final."""
        self.post(self._retire, key)

    def stats(self) -> Stats:
        """Where it stands; from any thread, also from a signal handler: it waits for nobody."""
        total, admission = self._retired.and_of(list(self._tallies.values())), self.admission
        return Stats(
            in_flight=max(0, admission.running()),
            waiting=admission.waiting() + total.backing_off,
            ceiling=self.ceiling(),
            **counts(total),
        )

    def changes(self) -> list[Change]:
        """How the ceiling moved."""
        return list(self.history)

    def held_only_by(self, owner: Owner, outer: Scope | None) -> bool:
        """Does this owner run all calls that hold a slot, and is none to borrow from the calls around this place?"""
        around = enclosing(outer, self)
        held = self.do(self._held_only_by, owner, None if around is None else around.permit)
        return held is True

    # Inside; with the books open

    def _join(self, permit: Permit, around: Scope | None, here: bool) -> None:
        admission, now = self.admission, clock.now()
        if permit.state != NEW:  # run again, or released meanwhile
            return
        if here and around is None and admission.start(permit, now):
            return
        admission.ask(permit)
        if around is not None and around.permit is not permit.parent:
            # That call has ended, on another thread, and perhaps without the books: it kept its slot for the
            # next item. It first says that it has ended and then looks whether the slot is lent; here the slot
            # is first lent and then asked whether it has ended: one of the two sees the other.
            admission.leave(permit)
            permit.parent = None
            admission.ask(permit)
        self._poll(now, permit if here else None)

    def _knock(self, permit: Permit, door: Door, here: bool) -> None:
        if permit.state == NEW:  # else released meanwhile
            self._answer(permit, door, here)

    def _answer(self, permit: Permit, door: Door, here: bool) -> None:
        full = not door.let_in and self.admission.waiting_for_slot() >= (self.max_waiting or 0)
        if not door.turned_away:
            self._join(permit, None, here)
            if not full or permit.state != WAITING:
                door.let_in = True
                return
        door.turned_away = True
        self.admission.turn_away(permit)
        if not here:
            self._remind(permit)

    def _look(self, permit: Permit) -> None:
        admission, now = self.admission, clock.now()
        waits = permit.state == WAITING or (
            permit.state == SLOTTED and (admission.totals or admission.head() is not permit)
        )
        if waits and now - self._swept >= _BETWEEN_SWEEPS:  # perhaps it looks now and then, as its owner's first
            self._swept = now
            admission.sweep()
        if permit.state != APPOINTED or not admission.take_up(permit, now):
            self._poll(now, permit)

    def _remind(self, permit: Permit) -> None:
        self.after.append(permit)

    def _patience(self, permit: Permit) -> float | None:
        return self.admission.patience(permit, clock.now())

    def _release(self, permit: Permit, actual: Sequence[float | None] | None) -> None:
        refund, waited = bool(permit.charges), permit.state == WAITING
        if actual is not None and refund:
            self.admission.settle(permit, actual)
        if self.money is not None and self.money.news:
            self._priced(self.money)
        self.admission.leave(permit)
        if waited and (first := self.admission.first_waiting(permit.owner)) is not None:
            self.after.append(first)  # from now on it looks now and then
        permit.wake = _nobody
        self._poll(clock.now(), None, refund=refund)

    def _renew(self, permit: Permit, actual: Sequence[float | None] | None, costs: Sequence[float] | None) -> bool:
        admission, now = self.admission, clock.now()
        if permit.charges:
            admission.settle(permit, actual)
        if self.money is not None and self.money.news:
            self._priced(self.money)
            self._poll(now, None, refund=True)
        if admission.renew(permit, costs, now):
            return True
        permit.wake = _nobody
        self._poll(now, None, refund=True)
        return False

    def _charge_anew(self, permit: Permit, costs: Sequence[float], mine: Permit | None) -> None:
        if permit.state != NEW:
            return
        permit.state = RUNNING
        if self.admission.charge_anew(permit, costs):
            self._poll(clock.now(), mine, refund=True)
        elif mine is None:
            self._remind(permit)

    def _refused(
        self, verdict: Verdict, permit: Permit, started: float, chance: float, repeated: bool = False
    ) -> Braked:
        kind, wait = verdict.kind, verdict.wait
        now = clock.now()
        paced = not repeated and any(rate.amount < UNLIMITED and rate.per < math.inf for rate in self.rates)
        crowded = about_crowd(kind, wait, paced=paced, started=started, gate=self.admission.opens_at())
        fewer = kind == "concurrency" and self._ceiling.can_answer(permit.epoch)
        if crowded:
            # A slot kept from item to item was let through in a smaller crowd than it now stands in.
            crowd = max(permit.crowd, self.admission.in_flight())
            if kind == "rate" and wait is not None:
                crowd = self._ceiling.limit + 1  # the gate has thinned it
            still = self.admission.running() - 1 if kind == "concurrency" else None
            self._ceiling.refused(permit.epoch, crowd, still)
        braked = self._brake.refused(wait=wait, kind=kind, fewer=fewer, started=started, now=now, chance=chance)
        if braked.gate is not None:
            apart = math.inf if wait is None or kind == "ramp" else wait
            self.admission.close_gate(braked.gate, spread=braked.spread, apart=apart)
            self._tell(self._news.gate(now, braked.gate, kind))
        self._adjust("refused")
        return braked

    def _refused_inside(self, verdict: Verdict, permit: Permit, started: float, tally: Tally, chance: float) -> None:
        tally.inside_refused += 1
        self._refused(verdict, permit, started, chance)

    def _repeated_inside(self, tally: Tally) -> None:
        tally.inside_repeated += 1

    def _told_quotas(self, quotas: Sequence[Quota]) -> None:
        assert self.followed is not None
        now = clock.now()
        for place, rate in self.followed.told(quotas):
            if rate.usage is not self.rates[place].usage:
                self.corrections[place] = Correction()
            self.rates[place] = rate
            self.admission.resize(place, rate, now)
        self._adjust("told")
        self._poll(now, None, refund=True)

    def _answered(self, permit: Permit, started: float) -> None:
        self._brake.succeeded(started)
        self._locked_out = False
        self._ceiling.answered(permit.epoch, permit.crowd, permit.ceiling)
        now = clock.now()
        self._tell(self._news.answered(now, outage=self._brake.outage))
        self._adjust("answered")
        self._poll(now, None)

    def _failed(self, started: float, chance: float) -> None:
        now = clock.now()
        probe = self._brake.failed(now, chance, started)
        if probe is not None:
            self.admission.close_gate(probe, spread=0.0, apart=math.inf)
        self._outage_exhausted = self._brake.outage_exhausted(now)
        self._tell(self._news.failed(now, self._brake.failures, outage=self._brake.outage))
        self._adjust("")

    def _denied(self) -> None:
        self._locked_out = self._brake.denied()
        self._adjust("")

    def _retire(self, key: object) -> None:
        tally = self._tallies.get(key)
        if tally is not None:
            self._retired.take(tally)
            del self._tallies[key]

    def _held_only_by(self, owner: Owner, lender: Permit | None) -> bool:
        self.admission.sweep()
        return self.admission.held_only_by(owner, lender)

    def _adjust(self, why: str) -> None:
        """After anything that ceiling or brake were told."""
        admission, ceiling, brake = self.admission, self._ceiling, self._brake
        untold = self.followed is not None and self.followed.untold
        untold = untold or (self.money is not None and self.money.alone)
        before, admission.limit = admission.limit, 1 if brake.outage or untold else ceiling.limit
        self.hiring.limit = 1 if brake.outage else ceiling.limit
        admission.epoch = ceiling.epoch
        admission.steady = ceiling.resting and not brake.engaged and not untold
        if not admission.steady:
            admission.quiet = False
        if admission.limit != before:
            now = clock.now()
            self.history.append(Change(now, before, admission.limit, why or "outage"))
            self._tell(self._news.ceiling(now, before, admission.limit, why))

    def _tell(self, line: str | None) -> None:
        """Have a line written once the books are closed: handlers are user code."""
        if line is not None:
            self.after.append(Line(line))

    def _poll(self, now: float, mine: Permit | None, *, refund: bool = False) -> None:
        """Who to wake: those who may run, and the head of the line where its timer must be set anew.

        `mine` is the permit of whoever asks, in its own thread: it takes its appointment up at once.
        """
        admission, after = self.admission, self.after
        if self._news.closed_until is not None:
            self._tell(self._news.moved(now))
        for permit in admission.poll(now, None if mine is None else mine.owner):
            if permit is mine:
                admission.take_up(permit, now)
            else:
                after.append(permit)
        if admission.reminded:
            after.extend(admission.reminded)
            admission.reminded.clear()
        head = admission.head()
        if head is not None and head is not mine and (refund or head is not self._timed):
            after.append(head)
        self._timed = head

    def _gives_way(self, permit: Permit) -> bool:
        """Does it run now because threads wait on top of ours? One more than there are slots, for each of them.

        Also within a wait that the server has named: what waits on top may be in the way of an answer that is paid for.
        """
        if stuck() <= sum(one.state != RELEASED for one in list(self._let_out)):
            return False
        self._let_out.add(permit)
        return self.admit_over_limit(permit)

    def _count_over_limit(self, permit: Permit) -> None:
        self.admission.admit_over_limit(permit, clock.now())

    @override
    def act(self, thing: Any) -> None:
        """Wake whoever waits for this permit, or write this line."""
        permit = thing
        try:
            permit.wake()
        except RuntimeError:  # its event loop is closed: nobody will ever take this place
            self.release(permit)


def _nobody() -> None:
    """Nobody waits any more: what has been released keeps no event loop alive."""
