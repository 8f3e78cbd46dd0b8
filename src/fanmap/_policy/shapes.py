"""How a result becomes JSON and comes back as it was, told by the function's return annotation.

Plain JSON values need no annotation. Dataclasses, pydantic models, NamedTuples and tuples come back as themselves
where the annotation names them, also within lists, dicts and unions. What would come back as something else is a
TypeError when it is to be written, and never a wrong value when it is read. No pickle, nothing is imported by name.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from fanmap._policy.plain import check_plain, is_model, model_parts, plain_text


class Shape(Protocol):
    """One kind of value."""

    def dump(self, value: Any) -> Any:
        """The value as plain JSON; TypeError or ValueError where it is not of this shape."""

    def load(self, data: Any) -> Any:
        """The value again; an exception where the data is not of this shape."""


def shape_of(annotation: Any) -> Shape:
    """How values of this annotation are written and read; of an unknown one: as plain JSON."""
    return _shape(annotation, ())


def encoder(shape: Shape) -> Callable[[Any], str]:
    """What makes JSON text of a value, and makes sure that the value comes back from it."""
    if isinstance(shape, _Plain):
        return plain_text

    def encode(value: Any) -> str:
        text = plain_text(shape.dump(value))
        if not same(shape.load(json.loads(text)), value):  # a class that changes what it is given, say
            raise TypeError("it would not come back as it is")
        return text

    return encode


def _shape(annotation: Any, around: tuple[Any, ...]) -> Shape:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _shape(args[0], around)
    if annotation in around:
        raise TypeError("a type that contains itself")
    around = (*around, annotation)
    if origin in (typing.Union, types.UnionType):
        return _Union([_shape(one, around) for one in args])
    if origin is list and args:
        return _List(_shape(args[0], around))
    if origin in (dict, Mapping) and args:
        return _Dict(_shape(args[1], around))
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return _Tuple(tuple, None, _shape(args[0], around))
        return _Tuple(tuple, [_shape(one, around) for one in args], None)
    if isinstance(annotation, type):
        return _of_class(annotation, around)
    return _Plain(None)


def _of_class(kind: type[Any], around: tuple[Any, ...]) -> Shape:
    if is_model(kind):
        return _Model(kind)
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        if not all(field.init for field in fields):
            raise TypeError("a dataclass with a field that its __init__ does not take")
        hints = typing.get_type_hints(kind)
        return _Dataclass(kind, {field.name: _shape(hints[field.name], around) for field in fields})
    names: tuple[str, ...] | None = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and names is not None:
        hints = typing.get_type_hints(cast("Any", kind))
        return _Tuple(cast("Any", kind), [_shape(hints.get(name, Any), around) for name in names], None)
    if issubclass(kind, enum.Enum):
        return _Enum(kind)
    return _Plain(kind if kind in (str, int, float, bool, list, dict, types.NoneType) else None)


class _Plain:
    """What JSON has itself; of one type, which tells it from the other members of a union."""

    def __init__(self, kind: type[Any] | None) -> None:
        self._kind = kind

    def dump(self, value: Any) -> Any:
        check_plain(value)
        return value

    def load(self, data: Any) -> Any:
        return data

    def claims(self, data: Any) -> bool:
        """Is this data of the type, within a union?"""
        return self._kind is None or type(data) is self._kind or (self._kind is float and type(data) is int)


class _Enum:
    """A member of an enumeration: its value."""

    def __init__(self, kind: type[enum.Enum]) -> None:
        self._kind = kind

    def dump(self, value: Any) -> Any:
        _check_type(value, self._kind)
        check_plain(value.value)
        return value.value

    def load(self, data: Any) -> Any:
        return self._kind(data)


class _List:
    def __init__(self, member: Shape) -> None:
        self._member = member

    def dump(self, value: Any) -> Any:
        _check_type(value, list)
        return [self._member.dump(one) for one in value]

    def load(self, data: Any) -> Any:
        _check_type(data, list)
        return [self._member.load(one) for one in data]


class _Dict:
    def __init__(self, member: Shape) -> None:
        self._member = member

    def dump(self, value: Any) -> Any:
        _check_type(value, dict)
        check_plain(dict.fromkeys(value))  # the keys
        return {key: self._member.dump(one) for key, one in value.items()}

    def load(self, data: Any) -> Any:
        _check_type(data, dict)
        return {key: self._member.load(one) for key, one in data.items()}


class _Tuple:
    """A tuple or a NamedTuple: each place of its own shape, or all of one."""

    def __init__(self, kind: type[Any], places: Sequence[Shape] | None, every: Shape | None) -> None:
        self._kind, self._places, self._every = kind, places, every

    def dump(self, value: Any) -> Any:
        _check_type(value, self._kind)
        return [shape.dump(one) for shape, one in self._pairs(value)]

    def load(self, data: Any) -> Any:
        _check_type(data, list)
        members = [shape.load(one) for shape, one in self._pairs(data)]
        return tuple(members) if self._kind is tuple else self._kind(*members)

    def _pairs(self, members: Sequence[Any]) -> list[tuple[Shape, Any]]:
        if self._places is None:
            assert self._every is not None
            return [(self._every, one) for one in members]
        return list(zip(self._places, members, strict=True))


class _Dataclass:
    def __init__(self, kind: type[Any], fields: dict[str, Shape]) -> None:
        self._kind, self._fields = kind, fields

    def dump(self, value: Any) -> Any:
        _check_type(value, self._kind)
        return {name: shape.dump(getattr(value, name)) for name, shape in self._fields.items()}

    def load(self, data: Any) -> Any:
        _check_type(data, dict)
        if data.keys() != self._fields.keys():
            raise TypeError(f"other fields than those of {self._kind.__name__}")
        return self._kind(**{name: shape.load(data[name]) for name, shape in self._fields.items()})


class _Model:
    """A pydantic model: written and read by its own JSON mode."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind

    def dump(self, value: Any) -> Any:
        _check_type(value, self._kind)
        data = value.model_dump(mode="json", by_alias=True)
        check_plain(data)
        return data

    def load(self, data: Any) -> Any:
        validate = cast("Callable[[str], Any]", self._kind.model_validate_json)
        return validate(json.dumps(data))


class _Union:
    """One of several: the first that brings a value back as it was."""

    def __init__(self, members: Sequence[Shape]) -> None:
        # What a class can refuse is asked before what JSON has itself, which refuses nothing.
        self._members = sorted(members, key=lambda shape: isinstance(shape, _Plain))

    def dump(self, value: Any) -> Any:
        for shape in self._members:
            try:
                data = shape.dump(value)
                if same(self.load(data), value):
                    return data
            except (TypeError, ValueError):
                pass
        raise TypeError(type(value).__name__)

    def load(self, data: Any) -> Any:
        for shape in self._members:
            if isinstance(shape, _Plain):
                if shape.claims(data):
                    return data
                continue
            try:
                return shape.load(data)
            except Exception:  # of a user's class
                pass
        raise TypeError("data of none of the types of the annotation")


def same(one: Any, other: Any) -> bool:
    """Are they of the same types all the way down, with equal leaves?"""
    kind = cast("type[Any]", type(one))
    if kind is not type(other):
        return False
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


def _check_type(value: object, kind: type[Any]) -> None:
    if type(value) is not kind:
        raise TypeError(type(value).__name__)
