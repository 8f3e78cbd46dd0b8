"""Which budget a shared name has in this process: one, however many Limits name it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from fanmap._drive.shared.budget import SharedBudget
from fanmap._drive.shared.chance import chance
from fanmap._drive.shared.place import Place, lease, read_place
from fanmap._drive.shared.store import Store, StoreOpener
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.followed import Followed
from fanmap._policy.limits.rate import Rate, name_of_setting
from fanmap._policy.shared.wanted import smaller, wanted
from fanmap._policy.tokens.money import Money, only_counts
from fanmap._policy.tokens.token_rates import is_tokens


class _Named:
    """A name, path or URL, opened by the first call."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.name = place.given

    def open(self, number: int) -> tuple[Store, float]:
        server = self._place.server()
        if server is None:
            from fanmap._drive.shared.file import FileStore

            return FileStore(self._place.file(), number), lease(server=False)
        from fanmap._drive.shared.redis import RedisStore

        return RedisStore(server, self._place.name, number), lease(server=True)


def open_store(place: Place) -> Store:
    """A store to look at, without taking part.

    Raises:
        ValueError, OSError, ImportError: as a first call has them.
    """
    return _Named(place).open(chance.getrandbits(48))[0]


_budgets: weakref.WeakValueDictionary[Place, SharedBudget] = weakref.WeakValueDictionary()


def budget_for(
    shared: str | StoreOpener,
    concurrency: Adaptive,
    rates: Sequence[Rate],
    max_wait: float,
    classify: Callable[[BaseException], Verdict | None] | None,
    *,
    reads: bool,
    max_waiting: int | None = None,
    money: Money | None = None,
    followed: Followed | None = None,
) -> SharedBudget:
    """The budget of a shared name.

    Raises:
        TypeError, ValueError: it is no name, or this process has the name with other rates, another `classify` or
            another `price`.
    """
    settings = wanted(
        concurrency, [rate for rate in rates if not only_counts(rate)], is_tokens,
        requests_told=followed is not None and followed.requests,
        tokens_told=followed is not None and followed.tokens,
    )  # fmt: skip

    def made(opener: StoreOpener) -> SharedBudget:
        return SharedBudget(
            opener, settings, concurrency, rates, max_wait, classify,
            reads=reads, max_waiting=max_waiting, money=money, followed=followed,
        )  # fmt: skip

    if not isinstance(shared, str):
        opener: Any = shared
        if not callable(getattr(opener, "open", None)):
            raise TypeError(f"shared must be a str or None, got {shared!r}")
        return made(opener)  # each Limits is a process of its own
    place = read_place(shared)
    budget = _budgets.get(place)
    if budget is None:
        return _budgets.setdefault(place, made(_Named(place)))
    same_price = _same(None if money is None else money.given, None if budget.money is None else budget.money.given)
    if not (settings.fits(budget.wanted.rates) and _same(classify, budget.classify) and same_price):
        raise ValueError(
            f"shared={place.given!r} is in use in this process with other rates or another classify or price: "
            "give every Limits of one name the same"
        )
    budget.agree(smaller(budget.wanted, settings), min(max_wait, budget.max_wait))
    budget.reads = budget.reads or reads
    if max_waiting is not None:
        budget.max_waiting = max_waiting if budget.max_waiting is None else min(max_waiting, budget.max_waiting)
    return budget


def _same(one: Callable[..., Any] | None, other: Callable[..., Any] | None) -> bool:
    """One function; what comes by value is another object each time that it comes."""
    if one is None or other is None:
        return one is other
    return one is other or [_name(one), one.__class__] == [_name(other), other.__class__]


def _name(function: Callable[..., Any]) -> tuple[str | None, str]:
    return getattr(function, "__module__", None), name_of_setting(function)
