"""Values that a `Retry`, or `retry=`, cannot take: the line to write instead."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, cast

from fanmap._hints.values import as_seconds, filled, is_number


def retry(value: object) -> str:
    """What to write for a retry that is a number, exception classes or something of tenacity's."""
    if is_number(value):
        return "write retry=False" if value == 0 else f"write retry=Retry({_attempts(value)})"
    if isinstance(value, str) and value.strip().isdecimal():
        return f"write retry=Retry({_attempts(int(value))})"
    strategy = _strategy(value)
    if strategy:
        return f"write retry=Retry({strategy}=...) with that strategy"
    if is_tenacitys(value):
        return "write retry=Retry(4, on=..., wait=..., stop=...) with its strategies"
    if isinstance(value, Mapping):
        return "write retry=Retry(**settings)"
    if isinstance(value, type):
        return "write retry=Retry()" if value.__name__ == "Retry" else f"write retry=Retry(on={value.__name__})"
    given: object = value
    if isinstance(value, UnionType) or (isinstance(value, (tuple, list, set, frozenset)) and value):
        line = on(given).removeprefix(": write ")
        return f"write retry=Retry({line or 'on=...'})"
    if callable(given):
        return "write retry=Retry(on=tenacity.retry_if_exception(function))"
    return "write retry=Retry(attempts=4)"


def misplaced(name: str, value: object) -> str:
    """What to write for a strategy of tenacity's in another's place, or for its class; empty: it is neither."""
    if isinstance(value, type):
        family = _family(value)
        return f": write {family}=tenacity.{value.__name__}(...)" if family else ""
    family = _strategy(value)
    return f": write {family}=..." if family not in ("", name) else ""


def attempts(value: object) -> str:
    """What to write for the `attempts` of a `Retry` that are no number; empty: nobody knows."""
    if isinstance(value, type) and issubclass(value, BaseException):
        return f": write on={value.__name__}"
    return on(cast("object", value)) if isinstance(value, tuple) else ""


def stop(value: object) -> str:
    """What to write for the `stop` of a `Retry` that is no strategy; empty: nobody knows."""
    if is_number(value) and isinstance(value, int) and value >= 1:
        return f": write attempts={value!r}"
    amount = as_seconds(value)
    return "" if amount is None else f": write total={amount!r}, in seconds"


def _attempts(value: int | float) -> str:
    return filled("attempts={n}", value).replace("...", "4")


def _strategy(value: object) -> str:
    """Which parameter of a `Retry` takes this strategy of tenacity's; empty: it is none."""
    return _family(type(value))


def _family(kind: type) -> str:
    families = {"retry_base": "on", "wait_base": "wait", "stop_base": "stop"}
    return next((families[base.__name__] for base in kind.__mro__ if base.__name__ in families), "")


def on(value: object) -> str:
    """What to write for an `on` of `Retry` that is no class; empty: nobody knows."""
    if isinstance(value, BaseException):
        return f": write on={type(value).__name__}"
    given: object = value.__args__ if isinstance(value, UnionType) else value  # `isinstance` takes KeyError | OSError
    several = isinstance(given, (list, tuple, set, frozenset))
    kinds: list[Any] = list(cast("Iterable[Any]", given)) if several else [given]
    if not kinds:
        return ""
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return f": write on={_tuple([kind.__name__ for kind in kinds])}"
    if all(isinstance(kind, int) and 100 <= kind < 600 for kind in kinds):
        chosen = f'getattr(error, "status_code", 0) in {_tuple([repr(kind) for kind in sorted(kinds)])}'
        return f": write on=tenacity.retry_if_exception(lambda error: {chosen})"
    return ""


def _tuple(parts: list[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def is_tenacitys(value: object) -> bool:
    """Is it one of tenacity's own objects, whose repr fills a screen, or its decorator?"""
    module = value.__module__ if inspect.isfunction(value) else type(value).__module__
    return module.partition(".")[0] == "tenacity"
