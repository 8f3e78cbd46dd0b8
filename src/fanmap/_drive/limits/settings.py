"""What a Limits is given: checked when it is made, shown by its repr, and made into a budget."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, TypeAlias, Union, cast

from typing_extensions import TypeIs, override

from fanmap._drive.limits.budget import Budget
from fanmap._drive.shared.store import StoreOpener
from fanmap._policy.checks import check_count, check_function, check_positive
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.followed import Followed
from fanmap._policy.limits.rate import Rate, name_of_setting
from fanmap._policy.tokens.money import Money, dollars_rate, only_counts
from fanmap._policy.tokens.token_rates import token_rate
from fanmap._usage import Usage

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


def _is_limiter(value: object) -> TypeIs[AsyncLimiter]:
    # Who gives one has imported it; for everybody else it is a fifth of the time that importing fanmap took.
    module = sys.modules.get("aiolimiter")
    return module is not None and isinstance(value, module.AsyncLimiter)


if TYPE_CHECKING:
    RateLike: TypeAlias = Rate | AsyncLimiter
else:
    # What `typing.get_type_hints` evaluates, in whichever module the annotation stands: it finds the class then.
    RateLike = Union[Rate, ForwardRef("__import__('aiolimiter').AsyncLimiter")]  # noqa: UP007


def _check_concurrency(value: object) -> Adaptive:
    if isinstance(value, Adaptive):
        return value
    if isinstance(value, str) and value == "auto":
        return Adaptive()
    if isinstance(value, bool) or not isinstance(value, int):
        from fanmap._hints import values  # only where something is wrong

        kind = ValueError if isinstance(value, str) else TypeError
        line = values.concurrency(value)
        raise kind(f'max_concurrency must be an int >= 1, "auto" or an Adaptive, got {value!r}{line}')
    most = check_count("max_concurrency", value)
    return Adaptive(start=most, minimum=1, maximum=most)


PerMinute: TypeAlias = float | Literal["auto"]
"""A number, or whatever the server tells."""


def _check_per_minute(name: str, value: object) -> None:
    if value is None or (isinstance(value, str) and value == "auto"):
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        from fanmap._hints import values  # only where something is wrong

        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f'{name} must be a number > 0 or "auto", got {value!r}{values.number(value)}')
    check_positive(name, value)


def _check_rates(
    rpm: PerMinute | None, tpm: PerMinute | None, given: list[Any]
) -> tuple[list[Rate], list[AsyncLimiter]]:
    rates: list[Rate] = []
    limiters: list[AsyncLimiter] = []
    _check_per_minute("rpm", rpm)
    _check_per_minute("tpm", tpm)
    if rpm is not None and rpm != "auto":
        if rpm < 1:
            raise ValueError(f"rpm must be >= 1, got {rpm!r}: write rate=Rate(1, per={60 / rpm:g})")
        rates.append(Rate(rpm, 60.0))
    if tpm is not None and tpm != "auto":
        rates.append(token_rate(tpm))
    for one in given:
        if isinstance(one, Rate):
            rates.append(one)
            continue
        if _is_limiter(one):
            limiters.append(one)
        else:
            raise _no_rate(one)
    return rates, limiters


def listed(rate: Any) -> list[Any]:
    """The rates that were given, as a list; none of them is checked yet."""
    if isinstance(rate, Iterable) and not isinstance(rate, (str, Mapping)):
        given = list(cast("Iterable[Any]", rate))
        if len(given) > 1 and not any(isinstance(one, Rate) or _is_limiter(one) for one in given):
            raise _no_rate(tuple(given) if isinstance(rate, tuple) else given)  # a pair of numbers is shown whole
        return given
    return [rate]


def _no_rate(value: object) -> TypeError:
    from fanmap._hints import values  # only where something is wrong

    return TypeError(
        f"rate must be a Rate, an aiolimiter.AsyncLimiter or several of them, got {value!r}{values.rate(value)}"
    )


def check_money(max_spend: object, price: Callable[[str, Usage], float] | None) -> Money | None:
    """Who counts dollars; None: nobody wants to know."""
    if max_spend is not None:
        check_positive("max_spend", max_spend)
    check_function("price", price, "model", "usage")
    if price is not None:
        own = price
        return Money(lambda model, usage, _: own(model, usage), strict=max_spend is not None, given=own)
    if max_spend is None:
        return None
    from fanmap._drive.limits import prices  # only where money is counted

    prices.check_installed()
    return Money(prices.price_of, strict=True)


def asyncio_only(limiters: Sequence[AsyncLimiter]) -> str:
    """What to write instead of an AsyncLimiter outside asyncio."""
    one = limiters[0]
    return (
        "an aiolimiter.AsyncLimiter works on one asyncio loop, not with threads or trio: "
        f"write Rate({one.max_rate:g}, {one.time_period:g})"
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """The arguments of `Limits`, whose docstring says what they mean; `rate` is a list."""

    max_concurrency: int | Literal["auto"] | Adaptive
    rpm: PerMinute | None
    tpm: PerMinute | None
    rate: list[Any]
    max_wait: float
    classify: Callable[[BaseException], Verdict | None] | None
    read_responses: bool | None
    max_waiting: int | None
    max_spend: float | None
    price: Callable[[str, Usage], float] | None
    shared: str | StoreOpener | None

    def as_arguments(self) -> dict[str, Any]:
        """By name, to make the same again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def make_budget(self) -> Budget:
        """Check all of them.

        Raises:
            ImportError, TypeError, ValueError: as `Limits` has them.
        """
        concurrency = _check_concurrency(self.max_concurrency)
        check_positive("max_wait", self.max_wait)
        rates, limiters = _check_rates(self.rpm, self.tpm, self.rate)
        check_function("classify", self.classify, "exception")
        if self.max_waiting is not None:
            check_count("max_waiting", self.max_waiting, least=0, none=True)
        money = check_money(self.max_spend, self.price)
        if money is not None:
            rates.append(dollars_rate(self.max_spend))
        follows = {"requests": self.rpm == "auto", "tokens": self.tpm == "auto"}
        # Dollars that nothing bounds are not shared, and come last.
        first = len(rates) - 1 if rates and only_counts(rates[-1]) else len(rates)
        followed = Followed(first, **follows) if any(follows.values()) else None
        reads = self._reads(money is not None)
        if self.shared is None:
            return Budget(
                concurrency, rates, limiters, self.max_wait, self.classify,
                reads=reads, followed=followed, max_waiting=self.max_waiting, money=money,
            )  # fmt: skip
        self._check_shared(limiters)
        from fanmap._drive.shared.registry import budget_for  # only where it is asked for

        return budget_for(
            self.shared, concurrency, rates, self.max_wait, self.classify,
            reads=reads, max_waiting=self.max_waiting, money=money, followed=followed,
        )  # fmt: skip

    def _reads(self, counts_money: bool) -> bool:
        """Are responses read?"""
        given = self.read_responses
        if given is not None and not isinstance(given, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"read_responses must be True, False or None, got {given!r}")
        spending = "price" if self.max_spend is None else "max_spend"
        needs = {'rpm="auto"': self.rpm == "auto", 'tpm="auto"': self.tpm == "auto", f"{spending}=": counts_money}
        needed = [name for name, one in needs.items() if one]
        if given is False and needed:
            raise ValueError(f"read_responses must not be False with {needed[0]}, which needs the responses")
        if given is not None:
            return given
        return bool(needed) or self.tpm is not None or not isinstance(self.max_concurrency, int)

    def _check_shared(self, limiters: list[AsyncLimiter]) -> None:
        """What several processes can have in common."""
        if limiters:
            raise TypeError(
                "an aiolimiter.AsyncLimiter belongs to one asyncio loop and cannot be shared: "
                f"write Rate({limiters[0].max_rate:g}, {limiters[0].time_period:g})"
            )

    @override
    def __str__(self) -> str:
        """Those that are not what they are without being given."""
        given = [f"max_concurrency={self.max_concurrency!r}"]
        given += [f"{name}={number!r}" for name, number in (("rpm", self.rpm), ("tpm", self.tpm)) if number is not None]
        shown = [
            repr(one) if isinstance(one, Rate) else f"AsyncLimiter({one.max_rate:g}, {one.time_period:g})"
            for one in self.rate
        ]
        if shown:
            given.append(f"rate={shown[0]}" if len(shown) == 1 else f"rate=[{', '.join(shown)}]")
        if self.max_wait != 300.0:  # the default
            given.append(f"max_wait={self.max_wait!r}")
        for name in ("max_waiting", "classify", "read_responses", "max_spend", "price"):
            value = getattr(self, name)
            if value is not None:
                given.append(f"{name}={name_of_setting(value) if callable(value) else repr(value)}")
        if isinstance(self.shared, str):
            from fanmap._drive.shared.place import without_password

            given.append(f"shared={without_password(self.shared)!r}")
        elif self.shared is not None:
            given.append(f"shared={self.shared!r}")
        return ", ".join(given)
