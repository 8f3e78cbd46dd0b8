"""What servers say in this process is told to everybody under a shared name, and what everybody was told holds here.

The same as `_drive.limits.braking`, but that the ceiling, the brake and the rates are everybody's: a `Member` knows
them. What is worth an exchange wakes the `Agent`, and nothing here waits for it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls.scope import Scope
from fanmap._drive.limits.budget import Budget
from fanmap._drive.shared.agent import Agent
from fanmap._drive.shared.chance import chance
from fanmap._drive.shared.store import StoreOpener
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive, Why
from fanmap._policy.limits.brake import Braked, alone
from fanmap._policy.limits.followed import Followed
from fanmap._policy.limits.permit import Permit
from fanmap._policy.limits.quotas import Quota, Unit
from fanmap._policy.limits.rate import Rate, pace
from fanmap._policy.shared.admission import SharedAdmission
from fanmap._policy.shared.document import TOTAL, Settings
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.told import UNITS
from fanmap._policy.shared.total import Told
from fanmap._policy.shared.troubles import Troubles
from fanmap._policy.tokens.money import Money, is_dollars


class SharedBraking(Budget):
    """One process's part of what all who share a name have of it, its own news included.

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

    # Inside; with the books open

    @override
    def _refused(
        self, verdict: Verdict, permit: Permit, started: float, chance: float, repeated: bool = False
    ) -> Braked:
        kind, wait, now = verdict.kind, verdict.wait, clock.now()
        member, admission = self.member, self.admission
        crowd = max(permit.crowd, member.elsewhere + admission.in_flight())
        still = member.elsewhere + admission.running() - 1
        member.happenings.refused(kind, wait, permit.epoch, crowd, still, started, now, self.max_wait, chance)
        waited = 0.0 if member.since is None else now - member.since
        braked = alone(kind, wait, self.max_wait, now, chance, waited)
        if braked.gate is not None:
            # Here at once; elsewhere when it is heard of.
            admission.close_gate(braked.gate, spread=braked.spread, apart=braked.apart)
            self._tell(self._news.gate(now, braked.gate, kind))
        else:
            member.refused(admission.in_flight() - 1)
        admission.steady = False
        self._consider(now)
        return braked

    @override
    def _answered(self, permit: Permit, started: float) -> None:
        member, now = self.member, clock.now()
        self._brake.succeeded(started)
        self._locked_out = False
        urgent = member.outage or member.spent is not None or member.locked_out
        member.happenings.answered(permit.epoch, permit.crowd, permit.ceiling, started, now, urgent=urgent)
        self._adjust("outage")
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
    def _adjust(self, why: Why) -> None:
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

    def _consider(self, now: float) -> None:
        """Books open. Wake the agent, if it would sleep for too long."""
        agent = self._agent
        if agent is not None and agent.sleeps_until > now:
            due = self.member.due(now, *self.admission.needs(now))
            if due < agent.sleeps_until:
                agent.poke()

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
