"""One budget for several processes: what this process has of it, and what it hears and tells.

The same as `_drive.limits.budget`, but that the slots, the ceiling, the brake and the rates are everybody's: a `Member`
knows them, an `Agent` exchanges, and between two exchanges nothing here waits for anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls.scope import Scope
from fanmap._drive.notices import warn_of_smaller_settings
from fanmap._drive.shared.agent import Agent, everybody
from fanmap._drive.shared.braking import SharedBraking
from fanmap._drive.shared.chance import chance
from fanmap._errors import NotRun
from fanmap._policy.limits.adaptive import Change, Why
from fanmap._policy.limits.door import Door
from fanmap._policy.limits.followed import Followed
from fanmap._policy.limits.permit import Owner, Permit
from fanmap._policy.limits.quotas import Quota
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.messages import TOLD, Reply, Request
from fanmap._policy.shared.told import UNITS
from fanmap._policy.shared.total import Told
from fanmap._policy.shared.troubles import other_rates, smaller_settings, spent_elsewhere

if TYPE_CHECKING:
    from fanmap._types import Everybody


class Stoppable(Protocol):
    """A run."""

    def stop_for(self, reason: Exception, error: Exception) -> None:
        """Nothing more starts: `reason` is why, `error` is what the run ends with."""
        ...


class SharedBudget(SharedBraking):
    """The state behind every `Limits` of one shared name in this process: a call's way, and the exchanges."""

    __slots__ = ()

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

    @override
    def held_only_by(self, owners: Collection[Owner], outer: Scope | None) -> bool:
        return self._troubles.away_since is None and super().held_only_by(owners, outer)

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
        self._adjust("outage")
        if member.ceiling != before:
            why = "told" if member.untold is not untold else _why_moved(member, before)
            self.history.append(Change(now, before, member.ceiling, why))
        self._hear_of_spent(now)
        if not self._told_smaller and (said := smaller_settings(self._wanted, member)):
            self._told_smaller = True
            warn_of_smaller_settings(self._troubles.name, said)
        self._poll(now, None, refund=True)

    def _follow(self, followed: Followed, now: float) -> None:
        """What anybody was told of the server's limits is everybody's."""
        member = self.member
        if member.happenings.is_telling(TOLD):
            return  # what is known here is newer
        if not member.untold:
            self._set_rates(followed.told([_quota(*limit) for limit in member.limits]))
        elif not followed.untold:  # the store has lost its memory
            self._tell_limits(followed.in_force(), now, none=True)

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
        self._troubles.fatal = error.with_traceback(None)  # nobody has raised it yet who asked for a call
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


def _why_moved(member: Member, before: int) -> Why:
    """Why the ceiling is not what it was before, where no limit of the server's was told."""
    if member.outage:
        return "outage"
    return "refused" if member.ceiling < before else "answered"


def _quota(_: int, number: int, amount: float, window: float) -> Quota:
    """What somebody was told, as if an answer had told it here."""
    unit = UNITS[number]
    assert unit is not None
    return Quota(unit, amount, window, None, sure=True)
