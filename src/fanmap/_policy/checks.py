"""Settings that are numbers, flags or functions: checked where they are given, in words that name them. Pure."""

from __future__ import annotations

import inspect
import math
from functools import partial
from numbers import Number
from typing import Any, SupportsFloat, cast


def check_positive(name: str, value: object) -> None:
    """A finite number > 0, or an error that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number > 0, got {value!r}{_instead(name, value)}")
    if not (is_finite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number > 0, got {shown(value)}")


def check_count(name: str, value: object, *, least: int = 1, none: bool = False) -> int:
    """An int of at least so much, or an error that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, int):
        from fanmap._hints import values  # only where something is wrong

        wanted = f"an int >= {least}{' or None' if none else ''}"
        raise TypeError(f"{name} must be {wanted}, got {value!r}{values.count(value)}")
    if value < least:
        raise ValueError(f"{name} must be >= {least}, got {value!r}")
    if not is_finite(value):
        raise ValueError(f"{name} must be a finite number >= {least}, got {shown(value)}")
    return value


def check_flag(name: str, value: object) -> bool:
    """True or False, or an error that names the parameter."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def is_finite(number: float) -> bool:
    """Is it a number that a float can hold? `math.isfinite` raises where an int is beyond them."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def as_float(value: object) -> float | None:
    """What a user's function says is a number of any kind, a Decimal or numpy's too; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, Number):
        return None
    try:
        return float(cast("SupportsFloat", value))
    except Exception:  # complex, a signalling NaN, an int beyond floats, whatever a class of numbers raises
        return None


def shown(number: float) -> str:
    """A number as an error shows it."""
    if isinstance(number, int) and number.bit_length() > 1000:  # Python shows none of 5,000 digits
        return f"an int of {number.bit_length()} bits"
    return repr(number)


def check_function(name: str, function: object, *given: str) -> None:
    """A function that answers when it is called with what is `given`, or None; else an error that names the parameter.

    What an `async def` answers is a coroutine that nobody would await: true, and no number.
    """
    if function is None:
        return
    if not callable(function):
        raise TypeError(f"{name} must be callable or None, got {function!r}")
    check_answers(name, function, *given)


def check_answers(name: str, function: object, *given: str) -> None:
    """The same, of what is known to be callable; nothing `given`: nobody knows yet."""
    called = function
    while isinstance(called, partial):
        called = cast("partial[Any]", called).func
    own = getattr(cast("type[Any]", type(called)), "__call__", None)  # noqa: B004 (the class's own: calling a class makes an instance)
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(own):
        raise TypeError(f"{name} must be a `def`, nobody would await it, got {called!r}")
    if given and not _takes(function, len(given)):
        count = "1 argument" if len(given) == 1 else f"{len(given)} arguments"
        raise TypeError(f"{name} must take {count} ({', '.join(given)}), got {function!r}")


def _takes(function: Any, count: int) -> bool:
    """Can it be called with so many arguments? What does not tell, or not in a way that Python reads, can."""
    try:
        signature = inspect.signature(function, follow_wrapped=False)  # it is the wrapper that is called
    except Exception:
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _instead(name: str, value: object) -> str:
    from fanmap._hints import values  # only where something is wrong

    return (values.seconds if name in ("per", "timeout", "deadline", "max_wait", "total") else values.number)(value)
