"""One text for every value that can be a key: the same in every run, and different for different values.

Pure; looks at types and at what values hold.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import hashlib
import json
import math
import numbers
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any, Final, cast

from fanmap._policy.journals.plain import Unkeepable, is_model, model_parts
from fanmap._raw import name_of_type

_PLAIN: Final = frozenset(map(id, (str, int, bool, float, type(None))))  # a type need not have a hash
_TRUTHS: Final = ("numpy.bool", "numpy.bool_")
_URLS: Final = ("pydantic_core._pydantic_core.Url", "pydantic_core._pydantic_core.MultiHostUrl")


def canonical(value: Any) -> Any:
    """The value in a form whose sorted JSON text is the same in every run, and different for different values.

    Raises:
        Unkeepable: nothing is known of this type that stays the same from run to run.
    """
    kind = cast("type[Any]", type(value))
    if id(kind) in _PLAIN:
        return value
    if kind is tuple:  # what the arguments of every call are; below, the same costs more
        return {"tuple": [canonical(member) for member in value]}
    if kind is dict:
        return _mapping(value)
    if isinstance(value, enum.Enum):
        return {"enum": [_name(kind), value.name or str(value.value)]}  # a flag of unknown bits has no name
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [canonical(member) for member in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return {"named": [_name(kind), [canonical(member) for member in cast("tuple[Any, ...]", value)]]}
    if isinstance(value, Mapping):
        return _mapping(cast("Mapping[Any, Any]", value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: canonical(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"dataclass": [_name(kind), fields]}
    return _rarer(value, kind)


def _mapping(value: Mapping[Any, Any]) -> Any:
    pairs = [[canonical(key), canonical(member)] for key, member in value.items()]
    return {"dict": sorted(pairs, key=json.dumps)}


def _rarer(value: Any, kind: type[Any]) -> Any:
    if is_model(value):
        return {"model": [_name(kind), canonical(model_parts(value))]}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted((canonical(member) for member in cast("set[Any]", value)), key=json.dumps)}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, (datetime.date, datetime.time)):
        return {"date": value.isoformat()}
    if isinstance(value, (decimal.Decimal, uuid.UUID, datetime.timedelta)) or _is_address(kind):
        return {kind.__name__: str(value)}
    if isinstance(value, pathlib.PurePath):
        return {"path": str(value)}
    if _name(kind) in _TRUTHS:
        return bool(value)
    if isinstance(value, numbers.Integral):  # numpy's too
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if number == value or math.isnan(number):  # numpy.float32, not a third
            return number
    raise Unkeepable(f"{name_of_type(kind)} has no stable representation")


def _is_address(kind: type[Any]) -> bool:
    """Is it of a network, and all of it in its text?"""
    return kind.__module__ in ("ipaddress", "pydantic.networks") or _name(kind) in _URLS


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
