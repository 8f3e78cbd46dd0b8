"""What stops a process under a shared name: a store that is away for too long, rates that differ, a spent account."""

from __future__ import annotations

from collections.abc import Sequence

from fanmap._errors import SharedUnavailable
from fanmap._policy.shared.document import DOLLARS, FOLLOWED, REQUESTS, TOKENS, TOTAL, Settings
from fanmap._policy.shared.member import Member

_FOLLOWED = ("requests", "tokens", "output tokens")
FIRST_PATIENCE = 5.0  # seconds until a store that was never reached is given up


class Troubles:
    """What there is to say of a store that does not answer.

    Args:
        name: what people know the budget by.
        max_wait: seconds that calls may wait for it to come back.

    Attributes:
        fatal: why nothing will start, until somebody begins anew; None: it may.
        max_wait: as given.
        away_since: when the store was first not reached since it last was; None: it is there.
    """

    def __init__(self, name: str, max_wait: float) -> None:
        self.name = name
        self.fatal: Exception | None = None
        self.away_since: float | None = None
        self.max_wait = max_wait
        self._began = 0.0
        self._ever_reached = False
        self._blocked_since: float | None = None
        self._said = ""

    def began(self, now: float) -> None:
        """The first call, or the first one after a trouble that was fatal: it may be over."""
        self._began, self.fatal = now, None

    def reached(self) -> None:
        """The store has answered."""
        self._ever_reached = True
        self.away_since = self._blocked_since = None

    def missed(self, now: float, said: str, *, blocked: bool) -> None:
        """It has not; is there a call that could not start for that?"""
        self._said = said
        if self.away_since is None:
            self.away_since = now if self._ever_reached else self._began
        if blocked and self._blocked_since is None:
            self._blocked_since = now

    def error(self, now: float) -> Exception | None:
        """Why nothing starts; None: it may yet."""
        if self.fatal is not None:
            return self.fatal.with_traceback(None)
        if self.away_since is None:
            return None
        if self._ever_reached:
            if self._blocked_since is None or now - self._blocked_since < self.max_wait:
                return None
            what = "could not be reached for"
        else:
            if now - self._began < min(FIRST_PATIENCE, self.max_wait):
                return None
            what = "was never reached, tried for"
        return SharedUnavailable(f"shared={self.name!r} {what} {now - self.away_since:.1f} s: {self._said}")


def spent_elsewhere(name: str, ago: float) -> Exception:
    """Why a run stops that had no refusal of its own."""
    return RuntimeError(f"the account is spent: another process under shared={name!r} was told so {ago:.1f} s ago")


def other_rates(name: str, mine: Settings, theirs: Sequence[Sequence[float]]) -> Exception:
    """The rates of the others are not these."""
    ours = ", ".join(kind_of_rate(rate.what, rate.per) for rate in mine.rates) or "none"
    others = ", ".join(kind_of_rate(int(what), per) for what, per in theirs) or "none"
    return ValueError(
        f"every Limits of shared={name!r} must have the same rates in the same order: "
        f"here they are {ours}; in another process {others}"
    )


def smaller_settings(mine: Settings, member: Member) -> str:
    """The numbers of which another process has a smaller one, with both; empty: there are none."""
    said: list[str] = []
    if member.maximum < mine.maximum:
        said.append(f"max_concurrency {mine.maximum} here, {member.maximum} there")
    for rate, (amount, burst) in zip(mine.rates, member.amounts, strict=True):
        if rate.what in FOLLOWED:
            continue
        kind = kind_of_rate(rate.what, rate.per)
        if amount < rate.amount:
            said.append(f"{kind} {rate.amount:g} here, {amount:g} there")
        elif burst < rate.burst:
            said.append(f"burst of {kind} {rate.burst:g} here, {burst:g} there")
    return "; ".join(said)


def kind_of_rate(what: int, per: float) -> str:
    """What a rate counts, and in how long."""
    if what in FOLLOWED:
        return f"{_FOLLOWED[FOLLOWED.index(what)]} as the server tells"
    counted = {REQUESTS: "requests", TOKENS: "tokens", DOLLARS: "dollars"}.get(what, "a cost of its own")
    return f"{counted} in all" if per == TOTAL else f"{counted} per {per:g} s"
