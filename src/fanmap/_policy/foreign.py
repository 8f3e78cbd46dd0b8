"""Looking at other people's objects: nothing raises, nothing but attributes is asked for.

Pure. Attributes of a client's exceptions are properties that may raise, and values are whatever a server sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import cast

_MOST_ITEMS = 256  # of a mapping


def safe_getattr(source: object, name: str) -> object:
    """The attribute, or None where there is none or it raises."""
    try:
        return getattr(source, name, None)
    except Exception:
        return None


def as_mapping(value: object) -> Mapping[object, object] | None:
    """The value if it is a mapping."""
    if type(value) is dict:  # what JSON is; asking the abstract class costs ten times as much
        return cast("dict[object, object]", value)
    return cast("Mapping[object, object]", value) if isinstance(value, Mapping) else None


def as_record(value: object) -> dict[object, object] | None:
    """A copy of the mapping, as far as it goes; None: it is none, or cannot be read."""
    if not isinstance(value, Mapping):
        return None
    try:
        return dict(islice(cast("Mapping[object, object]", value).items(), _MOST_ITEMS))
    except Exception:
        return None


def as_int(value: object) -> int | None:
    """The value if it is an int and no bool."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def class_names(error: BaseException) -> list[tuple[str, str]]:
    """Top-level package and name of its class and of those it derives from: how a client is known unimported."""
    return [(cls.__module__.partition(".")[0], cls.__name__) for cls in type(error).__mro__]
