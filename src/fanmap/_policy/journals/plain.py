"""Which values JSON brings back as they were: of which types, and when two values are the same.

Pure; looks at types and at what values hold. What a user's class does when it is looked at may raise anything: it is
for callers to catch.
"""

from __future__ import annotations

import builtins
import dataclasses
import math
import re
from typing import Any, Final, cast

from fanmap._policy.json_text import compact
from fanmap._raw import full_type_name, name_of_type, type_name

_EXACT: Final = frozenset(map(id, (str, int, float, bool, type(None), list, dict)))  # a type need not have a hash
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class Unkeepable(TypeError):
    """Raised where a value cannot be kept, or be a key; its text names types, and never the value."""


def why_not(failure: BaseException, doing: str = "encoding") -> str:
    """What may be said of it: what others say of a value may quote it, as pydantic does."""
    kind = type(failure)
    if kind is Unkeepable:
        return str(failure)
    return "it is nested too deeply" if kind is RecursionError else f"{doing} it raised {name_of_type(kind)}"


def plain_text(value: object) -> str:
    """The value as JSON text that is read back as an equal value of the same type, or of its base where that is all.

    Raises:
        Unkeepable: JSON has no such value, as a tuple, which would come back as a list; a float that is not finite;
            a text with both halves of a surrogate pair, which JSON reads as one.
    """
    check_plain(value)
    text = compact(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        if _PAIR.search(text):
            raise Unkeepable("a str with a surrogate pair as two characters does not round-trip through JSON") from None
    return text


def check_plain(value: object) -> None:
    """None, bool, int, float, str, and lists and dicts (with str keys) of them: these types, or their bare values."""
    kind = type(value)
    if kind is str or value is None or kind is int or kind is bool:
        return
    if kind is float:
        if not math.isfinite(cast("float", value)):
            raise Unkeepable("a float that is not finite is not JSON-serializable")
    elif kind is list:
        for member in cast("list[object]", value):
            check_plain(member)
    elif kind is dict:
        for key, member in cast("dict[object, object]", value).items():
            if type(key) is not str and type(bare(key)) is not str:
                raise Unkeepable(f"a dict with a key of type {type_name(key)} is not JSON-serializable")
            check_plain(member)
    elif (base := bare(value)) is not value:
        check_plain(base)
    else:
        name = name_of_type(kind)
        name = full_type_name(value) if hasattr(builtins, name) else name  # numpy.bool is no bool
        raise Unkeepable(f"{name} is not JSON-serializable")


def bare(value: object) -> object:
    """The str, int or float that is all there is of a value of a subclass; anything else as it is.

    LangChain's texts and numpy.float64 hold nothing else, print, compare and hash like it. The member of an
    enumeration has a name and is asked for with `is`; what has attributes of its own would lose them.
    """
    if id(type(value)) in _EXACT:
        return value
    base = base_of(value)
    if base is value or _has_attributes(value):
        return value
    alike = str(value) == str(base) and value == base and hash(value) == hash(base)
    return base if alike else value


def base_of(value: object) -> object:
    """The value as str, int or float, where it is of a subclass; without asking the subclass."""
    kind = type(value)
    for base, make in ((str, str.__str__), (int, int.__int__), (float, float.__float__)):
        if issubclass(kind, base):
            return value if kind in (base, bool) else make(cast("Any", value))
    return value


def _has_attributes(value: object) -> bool:
    """Does it hold anything beside the base's value? The member of an enumeration does: its name."""
    return bool(getattr(value, "__dict__", None)) or any(vars(kind).get("__slots__") for kind in type(value).__mro__)


def same(one: Any, other: Any) -> bool:
    """Are they of the same types all the way down, with equal leaves?

    `one` was read back: a value in `other` of a subclass that is no more than its base's value is the same as that.
    """
    kind = cast("type[Any]", type(one))
    if kind is not type(other):
        base = bare(other)
        return base is not other and same(one, base)
    if is_model(one):
        return same(model_parts(one), model_parts(other))  # a dump of both would leave out what the first one did
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one))
    if issubclass(kind, dict):
        return same(list(one.items()), list(other.items()))
    if issubclass(kind, (set, frozenset)):
        return {(type(member), member) for member in one} == {(type(member), member) for member in other}
    if issubclass(kind, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def is_model(value: object) -> bool:
    """Is it a pydantic model, or its class?"""
    kind = value if isinstance(value, type) else type(value)
    return all(hasattr(kind, name) for name in ("model_fields", "model_dump", "model_validate_json"))


def model_parts(model: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The fields of a pydantic model and its extra ones, as they are: a dump leaves some out and changes others."""
    kind = cast("type[Any]", type(model))
    held: dict[str, Any] = model.__dict__  # a model that was made without validation may lack some
    return {name: held[name] for name in kind.model_fields if name in held}, model.model_extra
