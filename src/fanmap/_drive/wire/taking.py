"""What an attempt's responses took, and whose call is told of them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.quotas import Quota
from fanmap._policy.tokens.usage import Taken
from fanmap._usage import Usage


class Account(Protocol):
    """Whose call it is. Told at once, from any thread."""

    @property
    def wants_quotas(self) -> bool:
        """Does anybody want to know a server's limits?"""
        ...

    @property
    def prices(self) -> bool:
        """Does anybody want to know what a response cost?"""
        ...

    def cost_of(self, model: str | None, usage: Usage, address: str) -> float | None:
        """What a response cost, in dollars; None: nobody can say."""
        ...

    def refused_inside(self, verdict: Verdict) -> None:
        """A request of the call was refused, whatever becomes of the call."""

    def repeated_inside(self) -> None:
        """A client has sent a request of the call again by itself."""

    def told_quotas(self, quotas: tuple[Quota, ...]) -> None:
        """A server has told its limits, or answered without telling any."""


class Taking(NamedTuple):
    """What the responses to one attempt's requests took together.

    Attributes:
        taken: in tokens.
        settled: responses that said what they took.
        cost: dollars, of those that were priced.
        priced: responses that were.
        free: the server refused or failed all that was asked, or all was asked by calls inside: it cost nothing itself.
        unseen: it asked nothing, as far as that can be seen.
        returned: the attempt did, and did not fail.
        untold: streams of a model that have not said what they took.
        inside: all was asked by calls inside it, which are charged for it.
    """

    taken: Taken
    settled: int
    cost: float
    priced: int
    free: bool
    unseen: bool
    returned: bool
    untold: int = 0
    inside: bool = False

    def with_untold(self, amount: float, told: int) -> float:
        """This, which so many of its responses took, and as much as they took on average for each that did not say."""
        return amount * (told + self.untold) / told if self.untold else amount
