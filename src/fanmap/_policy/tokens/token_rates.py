"""Rates of tokens: charged by an estimate of ours, settled with what responses or results tell.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fanmap._policy.limits.rate import Rate, check_cost
from fanmap._policy.tokens.tokens import OUTPUT_LIMITS, estimate_tokens, read_result, read_usage
from fanmap._policy.tokens.usage import Taken


def tokens_of_call(*args: Any, **kwargs: Any) -> float:
    """The tokens that a call is charged before it runs: a rate's `cost`."""
    return estimate_tokens(args, kwargs)


def input_of_call(*args: Any, **kwargs: Any) -> float:
    """The input tokens of that, for a provider that counts them apart: `max_tokens` counts nothing there."""
    return estimate_tokens(args, {name: value for name, value in kwargs.items() if name not in OUTPUT_LIMITS})


def output_of_call(*args: Any, **kwargs: Any) -> float:  # noqa: ARG001
    """The output tokens: nobody knows, until the first answers have told what is usual."""
    return 0.0


def _input(result: object) -> float | None:
    taken = read_result(result)
    return None if taken is None else float(taken.counted_input)


def _output(result: object) -> float | None:
    taken = read_result(result)
    return None if taken is None else float(taken.usage.output)


_COSTS: dict[object, Callable[..., float]] = {
    read_usage: tokens_of_call,
    _input: input_of_call,
    _output: output_of_call,
}


def token_rate(amount: float, per: float = 60.0) -> Rate:
    """`tpm=`: so many tokens in a window."""
    return Rate(amount, per, cost=tokens_of_call, usage=read_usage)


def input_rate(amount: float, per: float = 60.0) -> Rate:
    """Input tokens, where they are counted apart."""
    return Rate(amount, per, cost=input_of_call, usage=_input)


def output_rate(amount: float, per: float = 60.0) -> Rate:
    """Output tokens, where they are counted apart."""
    return Rate(amount, per, cost=output_of_call, usage=_output)


def check_call(rate: Rate, cost: object, *, told: bool) -> float:
    """As `check_cost`, in words for whoever wrote `tpm=` and no `cost`; `told`: they wrote "auto"."""
    if told and is_tokens(rate) and isinstance(cost, float) and cost > rate.amount:
        of, cure = ("input tokens", "shorten it") if rate.cost is input_of_call else ("tokens", "lower its max_tokens")
        raise ValueError(
            f"this call may take {math.ceil(cost)} {of} by estimate, and the server's limit is {rate.amount:.15g} in "
            f"{rate.per:g} s: {cure}"
        )
    if rate.cost is tokens_of_call and isinstance(cost, float) and cost > rate.amount:
        raise ValueError(
            f"tpm must be >= the tokens that one call may take, {math.ceil(cost)} by estimate, got {rate.amount!r}: "
            "raise tpm=, or lower the call's max_tokens"
        )
    return check_cost(rate, cost)


def is_tokens(rate: Rate) -> bool:
    """Is this one of them? A user's own `cost` may be an upper bound, and their `usage` is their word."""
    return any(rate.usage is usage and rate.cost is cost for usage, cost in _COSTS.items())


def counted(rate: Rate, taken: Taken) -> float:
    """What a response took of this one of them."""
    if rate.usage is _input:
        return float(taken.counted_input)
    return float(taken.usage.output if rate.usage is _output else taken.counted)
