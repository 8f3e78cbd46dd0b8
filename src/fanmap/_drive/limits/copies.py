"""A Limits that is not shared and comes by value: one of the process that it comes into, however often it comes."""

from __future__ import annotations

import os
import uuid
import weakref

from fanmap._drive.limits.budget import Budget

_originals: weakref.WeakValueDictionary[str, Budget] = weakref.WeakValueDictionary()
_origins: weakref.WeakKeyDictionary[Budget, tuple[str, int]] = weakref.WeakKeyDictionary()
_copies: dict[str, Budget] = {}  # for good: between two functions that bring it nobody may have it


def origin_of(budget: Budget) -> str:
    """What tells this one from all others, in every process that it comes into."""
    origin = _origins.setdefault(budget, (uuid.uuid4().hex, os.getpid()))[0]
    _originals[origin] = budget
    return origin


def budget_of_origin(origin: str, made: Budget) -> tuple[Budget, bool]:
    """The one of this process, which is the one made for it where there is none; and whether it is a copy."""
    budget = _originals.get(origin)
    if budget is None:
        budget = _copies.setdefault(origin, made)
        _origins.setdefault(budget, (origin, 0))  # it may travel on
    return budget, _origins[budget][1] != os.getpid()
