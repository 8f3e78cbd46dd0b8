"""What a server says to one call is for all of them: the gate, the ceiling, outages, and the limits that it states.

Takes turns with `_policy.limits.brake` and `_policy.limits.adaptive`, which decide what a refusal means.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.books import BUSY
from fanmap._drive.limits.spending import Spending
from fanmap._drive.limits.tally import Tally
from fanmap._drive.notices import Line
from fanmap._errors import NotRun
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive, Ceiling, Change, Why
from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.brake import Brake, Braked, alone, gate_beyond
from fanmap._policy.limits.followed import UNLIMITED, Followed
from fanmap._policy.limits.news import News
from fanmap._policy.limits.permit import Permit
from fanmap._policy.limits.quotas import Quota
from fanmap._policy.limits.rate import Rate
from fanmap._policy.limits.refusal import Refusal, refuse
from fanmap._policy.tokens.learned import Correction
from fanmap._policy.tokens.money import Money, is_dollars


class Hiring:
    """How many workers a run may have."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit = 1


class Braking(Spending):
    """The part of a budget that listens to the server.

    Args:
        ceiling: of calls at once.
        rates: what a call is charged to.
        max_wait: seconds that a server may keep everybody from working.
        classify: a user's own reading of an exception.
        reads: responses to calls' own requests are read.
        followed: the limits that a server tells; None: nobody wants to know.
        money: what calls cost; None: nobody wants to know.

    Attributes:
        hiring: how many workers a run may have: one a slot, also of those that come once a server has told its limits.
        max_concurrency: calls at once, at most.
        random: chance, for jitter; seeded by tests.
    """

    __slots__ = (
        "_brake", "_ceiling", "_locked_out", "_missing_told", "_news", "_outage_exhausted", "_settings", "classify",
        "followed", "hiring", "max_concurrency", "max_wait", "random",
    )  # fmt: skip

    def __init__(
        self,
        ceiling: Adaptive,
        rates: Sequence[Rate],
        max_wait: float,
        classify: Callable[[BaseException], Verdict | None] | None,
        *,
        reads: bool,
        followed: Followed | None,
        money: Money | None,
    ) -> None:
        self.max_concurrency = ceiling.maximum
        self.max_wait = max_wait
        self.classify = classify
        self.followed = followed
        self.random = random.Random()
        self._settings = ceiling
        self._missing_told = [None]  # until somebody has it
        super().__init__(rates, money, reads=reads)

    @override
    def free(self) -> None:
        super().free()
        self.hiring = Hiring()
        self._ceiling = Ceiling(self._settings)
        self._brake = Brake(self.max_wait)
        self._locked_out = self._outage_exhausted = False
        self._news = News()
        before: Admission | None = getattr(self, "admission", None)
        self.admission = Admission(1 if self._untold() else self._ceiling.limit, self.rates)
        for place, total in self.admission.totals.items():
            total.usual = self.corrections[place] if is_dollars(total.rate) else None
            if before is not None and place in before.totals:
                # A fork does not make it undone.
                total.spent, total.aside = before.totals[place].spent, before.totals[place].aside
        self._adjust("outage")

    def refused(self, verdict: Verdict, permit: Permit, started: float, *, repeated: bool = False) -> Braked:
        """The server refused to start a call: hold everybody as long as it says, and send fewer at once.

        `repeated`: its client had sent it again by itself, which no rate of ours paces.
        """
        chance = self.random.random()
        braked = self.do(self._refused, verdict, permit, started, chance, repeated)
        if braked is BUSY:
            # Whoever has the books closes the gate; what this one call does next, it can tell by itself.
            self.post(self._refused, verdict, permit, started, chance, repeated)
            return alone(verdict.kind, verdict.wait, self.max_wait, clock.now(), chance)
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

    def spent(self) -> None:
        """The account is; others may want to know."""

    def hopeless(self) -> float | None:
        """Seconds that the gate stays closed, where that is longer than `max_wait`."""
        closed = self.admission.opens_at() - clock.now()
        return closed if closed > self.max_wait else None

    def obstacle(self) -> tuple[str, Exception]:
        """Why nothing starts, where that is `hopeless`: to say of an item that has run, and for one that has not."""
        reason = gate_beyond(self.max_wait, self.hopeless() or 0.0)
        failure = NotRun(reason)
        # Not the refusal itself: its traceback would keep another run alive for as long as the gate is closed.
        failure.__cause__ = TimeoutError(reason)
        return reason, failure

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

    # Inside; with the books open

    def _refused(
        self, verdict: Verdict, permit: Permit, started: float, chance: float, repeated: bool = False
    ) -> Braked:
        admission, now = self.admission, clock.now()
        crowd, still = max(permit.crowd, admission.in_flight()), admission.running() - 1
        paced = not repeated and any(rate.amount < UNLIMITED and rate.per < math.inf for rate in self.rates)
        refusal = Refusal(verdict.kind, verdict.wait, started, permit.epoch, crowd, still, paced)
        gate = admission.opens_at()
        braked = refuse(self._ceiling, self._brake, refusal, gate=gate, now=now, chance=chance)
        if braked.gate is not None:
            admission.close_gate(braked.gate, spread=braked.spread, apart=braked.apart)
            self._tell(self._news.gate(now, braked.gate, verdict.kind))
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
        changes = self.followed.told(quotas)
        self._set_rates(changes)
        for place, rate in changes:
            self.admission.resize(place, rate, now)
        self._adjust("told")
        self._poll(now, None, refund=True)

    def _set_rates(self, changes: Iterable[tuple[int, Rate]]) -> None:
        corrections = list(self.corrections)
        for place, rate in changes:
            if rate.usage is not self.rates[place].usage:
                corrections[place] = Correction()
            self.rates[place] = rate
        if corrections != self.corrections:  # the server counts other tokens than calls in line were guessed to take
            self.corrections = corrections
            for permit in self.admission.in_line():
                guess = None if permit.anew is None else permit.anew()
                costs = None if guess is None else guess()
                permit.costs = permit.costs if costs is None else costs

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
        self._adjust("outage")

    def _denied(self) -> None:
        self._locked_out = self._brake.denied()
        self._adjust("outage")

    def _untold(self) -> bool:
        """Is nothing known yet of what the server allows, or of what a call costs? Then one call asks alone."""
        followed, money = self.followed, self.money
        return (followed is not None and followed.untold) or (money is not None and money.alone)

    def _adjust(self, why: Why) -> None:
        """After anything that ceiling or brake were told."""
        admission, ceiling, brake = self.admission, self._ceiling, self._brake
        untold = self._untold()
        before, admission.limit = admission.limit, 1 if brake.outage or untold else ceiling.limit
        self.hiring.limit = 1 if brake.outage else ceiling.limit
        admission.epoch = ceiling.epoch
        admission.steady = ceiling.resting and not brake.engaged and not untold
        if not admission.steady:
            admission.quiet = False
        if admission.limit != before:
            now = clock.now()
            self.history.append(Change(now, before, admission.limit, why))
            self._tell(self._news.ceiling(now, before, admission.limit, why))

    def _tell(self, line: str | None) -> None:
        """Have a line written once the books are closed: handlers are user code."""
        if line is not None:
            self.after.append(Line(line))
