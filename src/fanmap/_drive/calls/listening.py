"""What one call is told: by the responses to its requests as they pass, and by the exception it ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fanmap._drive.calls.costs import Costs
from fanmap._drive.calls.plan import Plan
from fanmap._drive.calls.reading import Reading, read
from fanmap._drive.limits.tally import Tally
from fanmap._drive.notices import warn_of_client_retries, warn_of_no_quota
from fanmap._errors import note_item
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.permit import Permit

if TYPE_CHECKING:
    from fanmap._drive.wire.responses import Reader
    from fanmap._policy.limits.quotas import Quota

_OTHER_LOOP: Final = (
    "fanmap: an async client belongs to the event loop on which it was first used. Each `asyncio.run` has a loop of "
    "its own, and so has `.map` of an async function: use `.map` everywhere, or await everything within one "
    "`asyncio.run`, or make a client for each loop"
)


class Listening(Costs):
    """What is read for one call at a time; it is the `Account` of its reader.

    Attributes:
        started: when its last attempt began.
    """

    __slots__ = ("_calls", "_permit", "_reader", "_refusals", "started")

    def __init__(self, plan: Plan, tally: Tally) -> None:
        super().__init__(plan, tally)
        self.started = 0.0
        self._permit: Permit | None = None
        self._calls: int = 0
        self._refusals: int = 0
        self._reader: Reader | None = None  # of the responses to this attempt's own requests

    def _observe(self) -> None:
        """Read the responses to what this attempt asks, from now on and in this context."""
        plan = self.plan
        budget = plan.budget
        again = plan.repeatable is None or plan.repeatable(self.item)
        repeats = plan.retry is not False and budget.classify is None and again
        self._reader = budget.observe(self, repeats=repeats)

    def _read_to_end(self, reader: Reader, *, returned: bool) -> None:
        """The attempt is over: what its responses said is final."""
        self._reader = None
        taking = self._taking = reader.close(returned=returned)
        if returned and reader.held:
            reader.tell_held(self)
        tally = self.tally
        tally.spent += taking.cost
        if taking.settled:
            tally.take(taking.taken.usage)
        elif returned and reader.unseen:
            tally.unseen += 1
            if self.wants_quotas:
                self.told_quotas(())

    def _read(self, error: BaseException, reader: Reader | None) -> Reading:
        """What the exception says, to the user's own reading first, and how often the client below tried again."""
        plan = self.plan
        said = read(error, plan.budget.classify)
        if said.hidden and (reader is None or not reader.requests):  # else that is known already
            self._calls += said.hidden
            self.tally.started += said.hidden
            if plan.budget.tell_once("repeats"):
                warn_of_client_retries(plan.name)
        if said.other_loop:
            note_item(error, _OTHER_LOOP)
        return said

    # What a reader asks and tells at once

    @property
    def prices(self) -> bool:
        """Does anybody want to know what a response cost?"""
        return self.plan.budget.money is not None

    @property
    def wants_quotas(self) -> bool:
        """Does anybody want to know a server's limits?"""
        return self.plan.budget.followed is not None

    def refused_inside(self, verdict: Verdict) -> None:
        """A request of the call was refused, whatever becomes of the call."""
        permit = self._permit
        self._refusals += 1
        if permit is not None:
            self.plan.budget.refused_inside(verdict, permit, self.started, self.tally)

    def repeated_inside(self) -> None:
        """A client has sent a request of the call again by itself."""
        self._calls += 1
        self.plan.budget.repeated_inside(self.tally)

    def told_quotas(self, quotas: tuple[Quota, ...]) -> None:
        """A server has told its limits, or answered without."""
        for name in self.plan.budget.told_quotas(quotas):
            warn_of_no_quota(name)
