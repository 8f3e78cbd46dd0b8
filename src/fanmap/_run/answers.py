"""An answer as plain JSON, whatever Python made it of: nobody reads it back as Python from a file of rows.

Pure. Wider than what `resume=` keeps, which has to come back as it was: here a tuple may become a list.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import numbers
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from fanmap._drive.journals.codec import NotKept
from fanmap._policy.journals.plain import is_model

_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SHORT: Final = 14_000  # bits of an int whose digits Python writes for everybody; it may refuse more
_AS_TEXT: Final = (decimal.Decimal, uuid.UUID, pathlib.PurePath)


class AnswerNotJson(NotKept):
    """Stands in a row's error field where its answer has no JSON form. Names types, and never a value."""


def to_json(answer: object) -> Any:
    """The answer as None, bool, int, finite float, str, and lists and dicts (with str keys) of them.

    Models, dataclasses and other classes with fields become dicts; tuples and arrays lists; enums their value;
    subclasses of str, int and float their base value; dates, Decimal, UUID and paths text; NaN and infinity None.

    Raises:
        AnswerNotJson: something in it has no JSON form, as a set or bytes; or it contains itself.
    """
    try:
        return _plain(answer)
    except AnswerNotJson as error:
        inner, outer = str(error), type(answer).__name__
        what = inner if inner.split()[0] == outer else f"{inner} inside {outer}"  # an int is inside no int
        raise AnswerNotJson(
            f"{what} is not JSON-serializable: return text, numbers, lists, dicts, dataclasses or models"
        ) from None
    except RecursionError:
        raise AnswerNotJson(f"{type(answer).__name__} is nested too deeply, or contains itself") from None
    except Exception as error:  # of a user's property, or a model's own serializer
        raise AnswerNotJson(f"{type(answer).__name__} could not be serialized ({type(error).__name__})") from None


def finite(value: Any) -> Any:
    """Plain JSON with None in place of floats that JSON cannot say; for what a row brought along."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is list:
        return [finite(member) for member in cast("list[Any]", value)]
    if type(value) is dict:
        return {key: finite(member) for key, member in cast("dict[str, Any]", value).items()}
    return value


def _plain(value: Any) -> Any:
    kind = cast("type[Any]", type(value))
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, int):
        return _whole(int.__int__(value))
    if isinstance(value, float):
        number = float.__float__(value)
        return number if math.isfinite(number) else None
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return _object(cast("Mapping[Any, Any]", value).items())
    if is_model(value) and not isinstance(value, type):
        return _plain(value.model_dump(mode="json", by_alias=True))
    names = _fields_of(kind)
    if names is not None:
        return _object((name, getattr(value, name)) for name in names)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_plain(member) for member in cast("Sequence[Any]", value)]
    return _rarer(value, kind)


def _rarer(value: Any, kind: type[Any]) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, _AS_TEXT):
        return str(value)
    if callable(getattr(kind, "tolist", None)):  # arrays and numbers of numpy, torch, pandas
        return _plain(value.tolist())
    if isinstance(value, numbers.Integral):
        return _whole(int(value))
    if isinstance(value, numbers.Real):
        return _plain(float(value))
    raise AnswerNotJson(kind.__name__)


def _fields_of(kind: type[Any]) -> Sequence[str] | None:
    """The names of the fields of a dataclass, an attrs or a msgspec class; None: it is none of these."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    attributes: Any = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return [attribute.name for attribute in attributes]
    fields: Any = getattr(kind, "__struct_fields__", None)
    return cast("Sequence[str] | None", fields)


def _object(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, member in pairs:
        name = _key(key)
        if name in made:
            raise AnswerNotJson("a dict with two keys that are the same in JSON")
        made[name] = _plain(member)
    return made


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _text(str.__str__(key))
    plain = _plain(key) if isinstance(key, (int, float, enum.Enum)) else key
    if plain is None or isinstance(plain, bool):
        return {None: "null", True: "true", False: "false"}[plain]
    if isinstance(plain, (str, int, float)):  # as json.dumps writes them
        return str(plain)
    raise AnswerNotJson(f"a dict with a key of type {type(key).__name__}")


def _text(text: str) -> str:
    """Both halves of a surrogate pair are one character to whoever reads the JSON."""
    if text.isascii() or not _PAIR.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _whole(number: int) -> int:
    if number.bit_length() > _SHORT:
        try:
            str(number)
        except ValueError:
            raise AnswerNotJson("int with too many digits") from None
    return number
