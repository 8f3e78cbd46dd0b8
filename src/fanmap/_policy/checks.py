"""Settings that are numbers or functions: checked where they are given, in words that name the parameter. Pure."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any, cast


def check_positive(name: str, value: object) -> None:
    """A finite number > 0, or an error that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number > 0, got {value!r}{_instead(name, value)}")
    if not (is_finite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number > 0, got {shown(value)}")


def is_finite(number: float) -> bool:
    """Is it a number that a float can hold? `math.isfinite` raises where an int is beyond them."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def shown(number: float) -> str:
    """A number as an error shows it."""
    if isinstance(number, int) and number.bit_length() > 1000:  # Python shows none of 5,000 digits
        return f"an int of {number.bit_length()} bits"
    return repr(number)


def check_function(name: str, function: object) -> None:
    """A function that answers when it is called, or None; else an error that names the parameter.

    What an `async def` answers is a coroutine that nobody would await: true, and no number.
    """
    if function is None:
        return
    if not callable(function):
        raise TypeError(f"{name} must be callable or None, got {function!r}")
    check_answers(name, function)


def check_answers(name: str, function: object) -> None:
    """The same, of what is known to be callable."""
    while isinstance(function, partial):
        function = cast("partial[Any]", function).func
    own = getattr(cast("type[Any]", type(function)), "__call__", None)  # noqa: B004 (the class's own: calling a class makes an instance)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(own):
        raise TypeError(f"{name} must be a `def`, nobody would await it, got {function!r}")


def _instead(name: str, value: object) -> str:
    from fanmap._hints import values  # only where something is wrong

    return (values.seconds if name in ("per", "timeout", "deadline", "max_wait", "total") else values.number)(value)
