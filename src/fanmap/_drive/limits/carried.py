"""How a decorated function, or a Limits, gets into another process where its name would not find it: by value.

Plain pickle cannot carry functions by value; cloudpickle can, and its copies in joblib, ray and pyspark. Which of them
is at work is told by what it makes of a WeakSet, and by nothing else: pickle asks the set for its state, cloudpickle
does not. So a set goes first, and if it was asked, what follows it goes by its name, or says that it has none.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

from typing_extensions import override


class Carried:
    """What goes by value, or by name.

    Args:
        parts: what goes by value.
        found: module and name where plain pickle finds it instead; None: nowhere.
        why_not: what to say then.
    """

    def __init__(self, parts: tuple[Any, ...], found: tuple[str, str] | None = None, why_not: str = "") -> None:
        self.parts = parts
        self.by_name = False
        self._found = found
        self._why_not = why_not

    @override
    def __reduce__(self) -> Any:
        if not self.by_name:
            return Carried, (self.parts,)
        if self._found is None:
            raise TypeError(self._why_not)
        return find, self._found


def find(module: str, qualified: str) -> Any:
    """What a module has under a name, in this process."""
    found: Any = import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    return found


def is_found(thing: object, module: str, qualified: str) -> bool:
    """Does its name find it here?"""
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found is thing


def reduced(
    made: type, state: tuple[Any, ...], found: tuple[str, str] | None, why_not: str
) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
    """What `__reduce__` returns.

    In two steps, because what goes by value may refer to itself: a function that calls itself under its own name.

    Args:
        made: its class.
        state: what its `__setstate__` is given, in a `Carried`.
        found: module and name, where plain pickle finds it; None: nowhere, and it is told `why_not`.
    """
    first, second = Carried((made,), found, why_not), Carried(state, found, why_not)
    probe: Any = weakref.WeakSet[Carried]()

    def asked() -> None:
        first.by_name = second.by_name = True

    probe.__getstate__ = asked
    return _new, (probe, first), second


def parts_of(state: Any) -> tuple[Any, ...] | None:
    """What came by value; None: it was found by its name."""
    return state.parts if isinstance(state, Carried) else None


def _new(_: object, arrived: Any) -> Any:
    parts = parts_of(arrived)
    return arrived if parts is None else parts[0].__new__(parts[0])
