"""Which values JSON brings back as they were, and one text for every value that can be a key.

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
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final, cast

_URLS: Final = ("pydantic_core._pydantic_core.Url", "pydantic_core._pydantic_core.MultiHostUrl")
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def plain_text(value: object) -> str:
    """The value as JSON text that is read back as an equal value of the same type.

    Raises:
        TypeError: JSON has no such value: a tuple would come back as a list. Names the type only.
        ValueError: a float that is not finite; a text with both halves of a surrogate pair, which JSON reads as one.
    """
    check_plain(value)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        if _PAIR.search(text):
            raise ValueError("a text with a surrogate pair as two characters") from None
    return text


def check_plain(value: object) -> None:
    """None, bool, int, float, str, and lists and dicts (with str keys) of them: exactly these types."""
    kind = type(value)
    if kind is str or value is None or kind is int or kind is bool:
        return
    if kind is float:
        if not math.isfinite(cast("float", value)):
            raise ValueError("a float that is not finite")
    elif kind is list:
        for member in cast("list[object]", value):
            check_plain(member)
    elif kind is dict:
        for key, member in cast("dict[object, object]", value).items():
            if type(key) is not str:
                raise TypeError(f"a dict with a key of type {type(key).__name__}")
            check_plain(member)
    else:
        raise TypeError(kind.__name__)


def canonical(value: Any) -> Any:
    """The value in a form whose sorted JSON text is the same in every run, and different for different values.

    Raises:
        TypeError: nothing is known of this type that stays the same from run to run. Names the type only.
    """
    kind = cast("type[Any]", type(value))
    if kind is str or value is None or kind is int or kind is bool or kind is float:
        return value
    if isinstance(value, enum.Enum):
        return {"enum": [_name(kind), value.name or str(value.value)]}  # a flag of unknown bits has no name
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [canonical(member) for member in cast("list[Any]", value)]
    if isinstance(value, tuple):
        members = [canonical(member) for member in cast("tuple[Any, ...]", value)]
        return {"tuple": members} if kind is tuple else {"named": [_name(kind), members]}
    if isinstance(value, Mapping):
        pairs = [[canonical(key), canonical(member)] for key, member in cast("Mapping[Any, Any]", value).items()]
        return {"dict": sorted(pairs, key=json.dumps)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: canonical(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"dataclass": [_name(kind), fields]}
    return _rarer(value, kind)


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
    if isinstance(value, numbers.Integral):  # numpy's too
        return int(value)
    if isinstance(value, numbers.Real) and float(value) == value:  # numpy.float32, not a third
        return float(value)
    raise TypeError(kind.__name__)


def is_model(value: object) -> bool:
    """Is it a pydantic model, or its class?"""
    kind = value if isinstance(value, type) else type(value)
    return all(hasattr(kind, name) for name in ("model_fields", "model_dump", "model_validate_json"))


def model_parts(model: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The fields of a pydantic model and its extra ones, as they are: a dump leaves some out and changes others."""
    kind = cast("type[Any]", type(model))
    held: dict[str, Any] = model.__dict__  # a model that was made without validation may lack some
    return {name: held[name] for name in kind.model_fields if name in held}, model.model_extra


def _is_address(kind: type[Any]) -> bool:
    """Is it of a network, and all of it in its text?"""
    return kind.__module__ in ("ipaddress", "pydantic.networks") or _name(kind) in _URLS


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
