"""What calls cost, in dollars: named by the response, or priced by model and usage.

Pure; whose prices they are is another's business. A price that is none ends it: money that cannot be counted is not
spent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

from fanmap._policy.checks import as_float
from fanmap._policy.limits.rate import Rate
from fanmap._raw import INTERRUPTS, type_name
from fanmap._usage import Usage

Price = Callable[[str, Usage, str], float]
"""Of the model, the usage, and the address that was asked: a model has other prices with other providers."""

_A_NAME = re.compile(r"[\w.:/@+-]{1,80}", re.ASCII)
_UNTOLD: Final = 20  # calls of which none has told what it took, after which it is over
_BOUNDLESS: Final = 1e15  # dollars: counted, and never used up
_CURE: Final = "give Limits(price=...), price(model, usage) -> dollars"


class NoPrice(LookupError):
    """Raised by a list of prices that has none for a model."""


class Money:
    """The dollars of one Limits.

    Args:
        price: what a response cost, in dollars.
        strict: nothing more may be spent once a response cannot be priced. Else it is just not counted.

    Attributes:
        price: of model, usage and address. given: the user's own function, which may have made it.
        priced: a call has been priced, and settled; until then one at a time is under way.
        reads: a response has been priced, so that a call of which no request was seen has made none.
        news: what was told since the last `settled` changes who may start.
        unpriced: why a response could not be priced, the first time; None: each could.
    """

    __slots__ = ("_cause", "_untold", "given", "news", "price", "priced", "reads", "strict", "unpriced")

    def __init__(self, price: Price, *, strict: bool, given: Callable[..., object] | None = None) -> None:
        self.price = price
        self.given = given
        self._cause: BaseException | None = None
        self._untold: list[None] = []
        self.strict = strict
        self.priced = self.reads = self.news = False
        self.unpriced: str | None = None

    @property
    def broken(self) -> bool:
        """May nothing more be spent, because it cannot be counted?"""
        return self.strict and self.unpriced is not None

    @property
    def alone(self) -> bool:
        """Is one call under way at most, because nobody knows yet what one costs?"""
        return self.strict and not self.priced

    def failure(self) -> ValueError:
        """What to raise where it is broken: each time another one, since exceptions gather tracebacks and notes."""
        error = ValueError(self.unpriced)
        error.__cause__ = self._cause
        return error

    def cost_of(self, model: str | None, usage: Usage, address: str) -> float | None:
        """What a response cost; None: it cannot be priced, and `unpriced` says why."""
        try:
            cost: Any = self.price(model or "", usage, address)
        except NoPrice as error:
            self._break(f"genai-prices has no price for {_named(model)}: {_CURE}", error)
            return None
        except INTERRUPTS:
            raise
        except BaseException as error:  # a cancellation too: nothing is awaited here
            self._break(f"price raised {type_name(error)} for {_named(model)}", error)
            return None
        number = as_float(cost)
        if number is None:
            self._break(f"price must return dollars, a number >= 0, got a {type_name(cost)} for {_named(model)}")
        elif not (math.isfinite(number) and number >= 0):
            self._break(f"price must return dollars, a finite number >= 0, got {number:g} for {_named(model)}")
            number = None
        return number

    def told(self, cost: float | None) -> None:
        """A call that returned, and is about to be settled, cost so much, or (None) told nothing to price."""
        if cost is not None:
            self.news = self.news or not self.priced
        elif self.alone:
            self._untold.append(None)
            if len(self._untold) >= _UNTOLD:
                self._break(
                    f"max_spend cannot be enforced: none of the first {_UNTOLD} calls reported its token "
                    "usage, so there is nothing to price. Return the whole reply, or use a client whose "
                    "responses are read; where they were answered from a cache, begin with a call that is not"
                )

    def settled(self) -> None:
        """The one that was told is settled: the next ones know what is left."""
        self.priced, self.news = self.priced or not self.broken, False

    def _break(self, reason: str, cause: BaseException | None = None) -> None:
        if self.unpriced is None:
            if cause is not None and cause.__traceback__ is not None:
                cause = cause.with_traceback(cause.__traceback__.tb_next)  # its own lines; ours lead back to here
            self._cause = cause
            self.unpriced = reason
            self.news = True


def _named(model: str | None) -> str:
    if not model:
        return "a response that names no model"
    return f"the model {model!r}" if _A_NAME.fullmatch(model) else "a model without a usable name"


def dollars_rate(amount: float | None) -> Rate:
    """`max_spend=`: so many dollars and no more; None: as many as you like, and counted."""
    return Rate(_BOUNDLESS if amount is None else amount, math.inf, cost=_unknown, usage=_told)


def is_dollars(rate: Rate) -> bool:
    """Is it the rate that counts dollars?"""
    return rate.usage is _told


def only_counts(rate: Rate) -> bool:
    """Are these dollars that are counted, and that nothing bounds (`price=` without `max_spend=`)?"""
    return is_dollars(rate) and rate.amount == _BOUNDLESS


def _unknown(*args: Any, **kwargs: Any) -> float:  # noqa: ARG001 (the estimate is the mean of what was settled)
    return 0.0


def _told(result: object) -> float | None:  # noqa: ARG001 (no result says what it cost)
    return None
