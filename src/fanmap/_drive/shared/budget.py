"""One budget for several processes: what this process has of it, and what it hears and tells.

The same as `_drive.budget`, but that the slots, the ceiling, the brake and the rates are everybody's: a `Member` knows
them, an `Agent` exchanges, and between two exchanges nothing here waits for anybody.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.budget import Budget
from fanmap._drive.notices import warn_of_smaller_settings
from fanmap._drive.scope import Scope
from fanmap._drive.shared.agent import Agent, everybody
from fanmap._drive.shared.chance import chance
from fanmap._drive.shared.store import StoreOpener
from fanmap._errors import NotRun
from fanmap._policy.adaptive import Adaptive, Change
from fanmap._policy.brake import Braked, alone
from fanmap._policy.door import Door
from fanmap._policy.followed import Followed
from fanmap._policy.learned import Correction
from fanmap._policy.money import Money, is_dollars
from fanmap._policy.permit import Owner, Permit
from fanmap._policy.quotas import Quota, Unit
from fanmap._policy.rate import Rate, pace
from fanmap._policy.shared.admission import SharedAdmission
from fanmap._policy.shared.document import TOTAL, Settings
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.messages import TOLD, Reply, Request
from fanmap._policy.shared.told import UNITS
from fanmap._policy.shared.total import Told
from fanmap._policy.shared.troubles import Troubles, other_rates, smaller_settings, spent_elsewhere
from fanmap._policy.verdict import Verdict

if TYPE_CHECKING:
    from fanmap._types import Everybody


class Stoppable(Protocol):
    """A run."""

    def stop_for(self, reason: Exception, error: Exception) -> None:
        """Nothing more starts: `reason` is why, `error` is what the run ends with."""
        ...


class SharedBudget(Budget):
    """The state behind every `Limits` of one shared name in this process.

    Args:
        opener: opens the store, at the first call.
        wanted: the settings, as numbers that other processes compare with theirs.

    Attributes:
        member: this process, as one of those that share.
    """

    __slots__ = (
        "_agent", "_fates", "_heard_spent", "_opener", "_runs", "_told_smaller", "_troubles", "_wanted", "member",
    )  # fmt: skip

    def __init__(
        self,
        opener: StoreOpener,
        wanted: Settings,
        max_concurrency: Adaptive,
        rates: Sequence[Rate],
        max_wait: float,
        classify: Callable[[BaseException], Verdict | None] | None,
        *,
        reads: bool = False,
        max_waiting: int | None = None,
        money: Money | None = None,
        followed: Followed | None = None,
    ) -> None:
        self._opener = opener
        self._wanted = wanted
        self._agent: Agent | None = None
        super().__init__(
            max_concurrency, rates, (), max_wait, classify,
            reads=reads, max_waiting=max_waiting, money=money, followed=followed,
        )  # fmt: skip
        self._tell_prices()

    @override
    def free(self) -> None:
        """A new process: also the child of a fork, which is somebody else from its first call on."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.forget()
        # By chance that no seed has set: a child must not be its parent.
        self.member = Member(chance.getrandbits(48), self._wanted, 1.0)
        super().free()
        self.admission: SharedAdmission = SharedAdmission(self.member, self.rates)
        self._troubles = Troubles(self._opener.name, self.max_wait)
        self._runs: weakref.WeakSet[Any] = weakref.WeakSet()
        self._fates = (0, 0)
        self._heard_spent: float | None = None
        self._told_smaller = False

    @property
    def wanted(self) -> Settings:
        """What this process wants."""
        return self._wanted

    def agree(self, wanted: Settings, max_wait: float) -> None:
        """Another Limits of this name: the smaller numbers of both."""
        self._wanted, self.max_wait = wanted, max_wait
        self.max_concurrency = wanted.maximum
        self._troubles.max_wait = max_wait
        self.member.want_less(wanted)

    # A call's way

    @override
    def begin_run(self, run: Stoppable) -> None:
        self._open()
        error = self._troubles.error(clock.now())
        if error is not None:
            raise error
        self._runs.add(run)

    @override
    def _line_up(self, permit: Permit, event: Callable[..., float | None], arg: Scope | Door | None) -> float | None:
        if self._agent is None:
            try:
                self._open()
            except Exception as error:
                self._troubles.fatal = error
        return super()._line_up(permit, event, arg)

    @override
    def hopeless(self) -> float | None:
        return 0.0 if self._troubles.error(clock.now()) is not None else super().hopeless()

    @override
    def obstacle(self) -> tuple[str, Exception]:
        error = self._troubles.error(clock.now())
        return super().obstacle() if error is None else (str(error), error)

    # What the server said

    @override
    def fates(self) -> tuple[int, int]:
        return self._fates

    @override
    def refused_before(self, started: float) -> bool:
        return self.member.since is not None and self.member.since < started

    @override
    def outage(self) -> bool:
        return self.member.outage

    @override
    def failures_in_a_row(self) -> int:
        return self.member.failures

    @override
    def denied(self) -> bool:
        return super().denied() or self.member.locked_out

    @override
    def spent(self) -> None:
        self.post(self._spent)

    # What it has come to

    @override
    def ceiling(self) -> int:
        return self.member.ceiling

    @override
    def everybody(self) -> Everybody:
        stats, agent = self.stats(), self._agent
        if agent is not None:
            return everybody(agent.store, self.member, stats.in_flight, stats.waiting)
        store, _ = self._opener.open(self.member.number)  # whoever looks and does not call is no member
        try:
            return everybody(store, self.member, stats.in_flight, stats.waiting)
        finally:
            store.close()

    # Inside; with the books open

    @override
    def _refused(
        self, verdict: Verdict, permit: Permit, started: float, chance: float, repeated: bool = False
    ) -> Braked:
        kind, wait, now = verdict.kind, verdict.wait, clock.now()
        member, admission = self.member, self.admission
        crowd = max(permit.crowd, member.elsewhere + admission.in_flight())
        still = member.elsewhere + admission.running() - 1 if kind == "concurrency" else None
        member.happenings.refused(kind, wait, permit.epoch, crowd, still, started, now, self.max_wait, chance)
        braked = alone(wait, now, chance)
        if braked.gate is not None:
            # Here at once; elsewhere when it is heard of.
            spread = 0.0 if kind == "concurrency" else 10.0 if kind == "ramp" else braked.spread
            admission.close_gate(braked.gate, spread=spread, apart=math.inf if kind == "ramp" or wait is None else wait)
            self._tell(self._news.gate(now, braked.gate, kind))
        else:
            member.refused(admission.in_flight() - 1)
        admission.steady = False
        waited = 0.0 if member.since is None else now - member.since
        self._consider(now)
        return Braked(braked.gate, braked.spread, braked.rejoin, max(wait or 0.0, waited) > self.max_wait)

    @override
    def _answered(self, permit: Permit, started: float) -> None:
        member, now = self.member, clock.now()
        self._brake.succeeded(started)
        self._locked_out = False
        urgent = member.outage or member.spent is not None or member.locked_out
        member.happenings.answered(permit.epoch, permit.crowd, permit.ceiling, started, now, urgent=urgent)
        self._adjust("")
        self._consider(now)

    @override
    def _failed(self, started: float, chance: float) -> None:
        member, now = self.member, clock.now()
        member.happenings.failed(started, now, self.max_wait, chance)
        self.admission.steady = False
        failing = member.failing
        self._outage_exhausted = member.outage and failing is not None and now - failing > self.max_wait
        self._consider(now)

    @override
    def _denied(self) -> None:
        now = clock.now()
        self.member.happenings.denied(now)
        super()._denied()
        self._consider(now)

    def _spent(self) -> None:
        now = clock.now()
        self._heard_spent = now  # by our own call, whose run ends with what it was told
        self.member.happenings.spent(now)
        self._consider(now)

    @override
    def _adjust(self, why: str) -> None:
        self.admission.steady = self.member.steady and not self._brake.engaged
        self.hiring.limit = self._settings.start if self.member.untold else self.member.ceiling

    @override
    def _told_quotas(self, quotas: Sequence[Quota]) -> None:
        followed, now = self.followed, clock.now()
        assert followed is not None
        untold = followed.untold
        changed = dict(followed.told(quotas))
        self._set_rates(changed.items())
        self._tell_limits([known for known in followed.in_force() if known[0] in changed], now, none=untold)
        self._consider(now)

    @override
    def _poll(self, now: float, mine: Permit | None, *, refund: bool = False) -> None:
        super()._poll(now, mine, refund=refund)
        self._consider(now)

    @override
    def _join(self, permit: Permit, around: Scope | None, here: bool) -> float | None:
        seconds = super()._join(permit, around, here)
        self._consider(clock.now())
        return seconds

    # With its agent; the books are open where they are named so

    def _open(self) -> Agent:
        """The agent, which exchanges for this process from the first call on.

        Raises:
            ValueError, OSError, ImportError: what was given as `shared=`, or its environment, is wrong.
        """
        agent = self._agent
        if agent is None:
            agent = self.do(self._made)
            while not isinstance(agent, Agent):
                clock.world.sleep(0.0005)
                agent = self._agent or self.do(self._made)
            agent.start()
        return agent

    def _made(self) -> Agent:
        if self._agent is None:
            store, lease = self._opener.open(self.member.number)
            self.member.ttl, self.member.wake = lease, store.wake
            self._agent = Agent(self, store)
            self._troubles.began(clock.now())
        return self._agent

    def lost(self, agent: Agent) -> None:
        """Its thread has ended."""
        if self._agent is agent:
            self._agent = None

    def _consider(self, now: float) -> None:
        """Books open. Wake the agent, if it would sleep for too long."""
        agent = self._agent
        if agent is not None and agent.sleeps_until > now:
            due = self.member.due(now, *self.admission.needs(now))
            if due < agent.sleeps_until:
                agent.poke()

    def prepare(self) -> Request | float:
        """Books open. The request to send now, or when the next one is due."""
        now, admission = clock.now(), self.admission
        due = self.member.due(now, *admission.needs(now))
        if due > now:
            assert self._agent is not None
            self._agent.sleeps_until = due
            return due
        self._tell_news(now)
        return self.member.compose(now, admission.demand(now), chance.getrandbits(48))

    def _tell_prices(self) -> None:
        """What calls cost is for everybody to know."""
        for place, wanted in enumerate(self._wanted.rates):
            if is_dollars(self.rates[place]) and wanted.per == TOTAL:
                self.corrections[place] = Told()

    def _tell_limits(self, limits: Sequence[tuple[int, Unit, Rate]], now: float, *, none: bool) -> None:
        happenings = self.member.happenings
        for place, unit, rate in limits:
            numbers = rate.amount, *pace(rate), rate.per
            happenings.learned(place, UNITS.index(unit), numbers, now)
        if none and not limits:
            happenings.learned_none(now)

    def _follow(self, followed: Followed, now: float) -> None:
        """What anybody was told of the server's limits is everybody's."""
        member = self.member
        if member.happenings.is_telling(TOLD):
            return  # what is known here is newer
        if not member.untold:
            self._set_rates(followed.told([_quota(*limit) for limit in member.limits]))
        elif not followed.untold:  # the store has lost its memory
            self._tell_limits(followed.in_force(), now, none=True)

    def _set_rates(self, changes: Iterable[tuple[int, Rate]]) -> None:
        for place, rate in changes:
            if rate.usage is not self.rates[place].usage:
                self.corrections[place] = Correction()
            self.rates[place] = rate

    def _tell_news(self, now: float) -> None:
        for place, correction in enumerate(self.corrections):
            many, dollars = 0, 0.0
            while isinstance(correction, Told) and correction.news:
                many, dollars = many + 1, dollars + correction.news.pop()
            if many:
                self.member.happenings.priced(place, many, dollars, now)

    def heard(self, reply: Reply) -> None:
        """Books open. Take a reply, and let start what may."""
        now, member, admission = clock.now(), self.member, self.admission
        before, memory, untold = member.ceiling, member.memory, member.untold
        answers, refusals = member.answers, member.refusals
        if not member.take(reply, now):
            return
        if member.different is not None:
            self._troubles.fatal = other_rates(self._troubles.name, self._wanted, member.different)
            self._give_up(self._troubles.fatal)
            return
        self._troubles.reached()
        if member.memory == memory:
            more = max(0, member.answers - answers), max(0, member.refusals - refusals)
            self._fates = self._fates[0] + more[0], self._fates[1] + more[1]
        admission.follow()
        if self.followed is not None:
            self._follow(self.followed, now)
        self._adjust("")
        if member.ceiling != before:
            why = "outage" if member.outage else "refused" if member.ceiling < before else "answered"
            why = "told" if member.untold is not untold else why
            self.history.append(Change(now, before, member.ceiling, why))
        self._hear_of_spent(now)
        if not self._told_smaller and (said := smaller_settings(self._wanted, member)):
            self._told_smaller = True
            warn_of_smaller_settings(self._troubles.name, said)
        self._poll(now, None, refund=True)

    def missed(self, said: str) -> None:
        """Books open. The store was not reached, or did not answer."""
        now, member = clock.now(), self.member
        member.lost()
        self._troubles.missed(now, said, blocked=self.admission.waiting() > 0 and not member.may_start(now))
        error = self._troubles.error(now)
        if error is not None:
            self._give_up(error)

    def broken(self, error: Exception) -> None:
        """Books open. The store will never work."""
        self.member.lost()
        self._troubles.fatal = error
        self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Whatever runs or waits is told."""
        self.after.extend(partial(run.stop_for, error, error) for run in list(self._runs))
        self.after.extend(self.admission.in_line())

    def _hear_of_spent(self, now: float) -> None:
        """Another process was told that the account is: what runs here stops, what begins later tries."""
        spent, heard = self.member.spent, self._heard_spent
        if spent is None:
            self._heard_spent = None
        elif heard is None:
            self._heard_spent = now
            reason = spent_elsewhere(self._troubles.name, now - spent)
            for run in list(self._runs):
                error = NotRun(str(reason))
                error.__cause__ = reason
                self.after.append(partial(run.stop_for, reason, error))

    @override
    def act(self, thing: Permit | Callable[[], None]) -> None:
        if isinstance(thing, Permit):
            super().act(thing)
        else:
            thing()

    @override
    def held_only_by(self, owner: Owner, outer: Scope | None) -> bool:
        return self._troubles.away_since is None and super().held_only_by(owner, outer)


def _quota(_: int, number: int, amount: float, window: float) -> Quota:
    """What somebody was told, as if an answer had told it here."""
    unit = UNITS[number]
    assert unit is not None
    return Quota(unit, amount, window, None, sure=True)
