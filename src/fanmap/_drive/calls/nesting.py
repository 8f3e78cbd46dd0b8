"""In which order calls ask for one Limits inside another: two orders can deadlock, and that is said once.

A call that holds a slot of one and waits for one of another, while a second call does the opposite, may wait for ever.
Nothing is raised: most such programs have slots to spare. Looked at only where a nested call waits.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from fanmap._drive.calls.scope import Scope
from fanmap._drive.notices import warn_of_opposite_orders

_inside: WeakKeyDictionary[Any, WeakKeyDictionary[Any, tuple[str, str]]] = WeakKeyDictionary()
"""The Limits waited for: the Limits held meanwhile: the functions, the outer one first."""


def waits_inside(scope: Scope | None, budget: object, name: str) -> None:
    """A call of `name` waits for `budget`, inside the call that this scope is of."""
    while scope is not None:
        if scope.budget is not budget and scope.permit is not None:
            held = _inside.setdefault(budget, WeakKeyDictionary())
            if scope.budget not in held:
                held[scope.budget] = (scope.name, name)
                others = _inside.get(scope.budget)
                if others is not None and budget in others:
                    warn_of_opposite_orders((scope.name, name), others[budget])
        scope = scope.outer
