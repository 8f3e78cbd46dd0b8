"""The shapes of values that JSON brings back as they were, told by a function's return annotation.

Plain JSON values need no annotation. Dataclasses, pydantic models, NamedTuples and tuples come back as themselves
where the annotation names them, also within lists, dicts and unions. No pickle, nothing is imported by name.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import typing_extensions

from fanmap._policy.journals.plain import Unkeepable, bare, base_of, check_plain, is_model, same
from fanmap._raw import is_a, name_of_type, type_name

_ALIASES: Final = tuple(
    {typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType)}
)


class Shape(Protocol):
    """One kind of value."""

    def dump(self, value: Any) -> Any:
        """The value as plain JSON; Unkeepable where it is not of this shape."""

    def load(self, data: Any, *, exact: bool) -> Any:
        """The value again; an exception where the data is not of this shape.

        `exact`: JSON's own values too must be of the annotation's types; else they come back as they are.
        """


def shape_of(annotation: Any) -> Shape:
    """The shape of an annotation's values; of an unknown one: plain JSON.

    Raises:
        Unkeepable: they cannot be made again.
    """
    return _shape(annotation, ())


def _shape(annotation: Any, around: tuple[Any, ...]) -> Shape:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _shape(args[0], around)
    if annotation in around:
        raise Unkeepable("a type that contains itself")
    around = (*around, annotation)
    if isinstance(annotation, _ALIASES):
        return _of_alias(annotation, around)
    if origin in (typing.Union, types.UnionType):
        return _Union([_shape(one, around) for one in args])
    if origin is typing.Literal:
        return Plain(None, args)
    if origin is list and args:
        return _List(_shape(args[0], around))
    if origin in (Sequence, Collection, Iterable) and args:
        member = _shape(args[0], around)
        return Plain(None) if isinstance(member, Plain) else _List(member)  # a str is a Sequence[str], too
    if args and (hasattr(origin, "__next__") or hasattr(origin, "__anext__")):
        return _List(_shape(args[0], around))  # a stream, of which a run has its chunks
    if origin in (dict, Mapping) and args:
        return _Dict(_shape(args[1], around))
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return _Tuple(tuple, None, _shape(args[0], around))
        return _Tuple(tuple, [_shape(one, around) for one in args], None)
    if isinstance(annotation, typing.NewType):
        return _shape(annotation.__supertype__, around)
    generic: Any = origin
    if isinstance(generic, type) and dataclasses.is_dataclass(cast("Any", generic)):
        return _of_class(generic, around, dict(zip(getattr(generic, "__parameters__", ()), args, strict=False)))
    if typing.is_typeddict(annotation):
        return Plain(dict)
    if isinstance(annotation, type):
        return _of_class(annotation, around)
    return Plain(None)


def _of_alias(alias: Any, around: tuple[Any, ...]) -> Shape:
    """What `type Alias = ...` stands for; plain JSON where that cannot be told, as of one that contains itself."""
    try:
        return _shape(alias.__value__, around)
    except Exception:  # a name that only type checkers see
        return Plain(None)


def _of_class(kind: type[Any], around: tuple[Any, ...], given: Mapping[Any, Any] = types.MappingProxyType({})) -> Shape:
    """`given`: what stands for the type variables of a generic dataclass."""
    if is_model(kind):
        return _Model(kind)
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        if not all(field.init for field in fields):
            raise Unkeepable("a dataclass with a field that its __init__ does not take")
        hints = typing.get_type_hints(kind)
        return _Dataclass(kind, {field.name: _shape(_filled(hints[field.name], given), around) for field in fields})
    names: tuple[str, ...] | None = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and names is not None:
        hints = typing.get_type_hints(cast("Any", kind))
        return _Tuple(cast("Any", kind), [_shape(hints.get(name, Any), around) for name in names], None)
    if issubclass(kind, enum.Enum):
        return _Enum(kind)
    return Plain(kind if kind in (str, int, float, bool, list, dict, types.NoneType) else None)


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """The annotation with what stands for its type variables."""
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, Any)
    names: tuple[Any, ...] = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    return cast("Any", hint)[tuple(given.get(name, Any) for name in names)] if names and given else cast("Any", hint)


class Plain:
    """What JSON has itself: of one type, or one of some values, which tells it from the other members of a union."""

    def __init__(self, kind: type[Any] | None, values: tuple[Any, ...] | None = None) -> None:
        self._kind, self._values = kind, values

    def dump(self, value: Any) -> Any:
        data = self.bare(value)
        check_plain(data)
        return data

    def bare(self, value: Any) -> Any:
        """The value without its class, where it is all there is, or all that the annotation speaks of."""
        if is_a(value, enum.Enum):
            base = base_of(value)
            return base if type(base) is self._kind and str(value) == str(base) else value
        return bare(value)

    def load(self, data: Any, *, exact: bool) -> Any:
        if exact and not self.claims(data):
            raise Unkeepable(f"a {type_name(data)} does not match the annotation")
        return data

    def claims(self, data: Any) -> bool:
        """Is this data of the type?"""
        kind = cast("type[Any]", type(data))
        if self._values is not None:
            return any(type(one) is kind and one == data for one in self._values)
        if self._kind is None or kind is self._kind:
            return True
        return (self._kind is float and kind is int) or (self._kind is int and kind is bool)


class _Enum:
    """A member of an enumeration: its value."""

    def __init__(self, kind: type[enum.Enum]) -> None:
        self._kind = kind

    def dump(self, value: Any) -> Any:
        _check_type(value, self._kind)
        check_plain(value.value)
        return value.value

    def load(self, data: Any, *, exact: bool) -> Any:  # noqa: ARG002
        return self._kind(data)


class _List:
    def __init__(self, member: Shape) -> None:
        self._member = member

    def dump(self, value: Any) -> Any:
        _check_type(value, list)
        return [self._member.dump(one) for one in value]

    def load(self, data: Any, *, exact: bool) -> Any:
        _check_type(data, list)
        return [self._member.load(one, exact=exact) for one in data]


class _Dict:
    def __init__(self, member: Shape) -> None:
        self._member = member

    def dump(self, value: Any) -> Any:
        _check_type(value, dict)
        check_plain(dict.fromkeys(value))  # the keys
        return {key: self._member.dump(one) for key, one in value.items()}

    def load(self, data: Any, *, exact: bool) -> Any:
        _check_type(data, dict)
        return {key: self._member.load(one, exact=exact) for key, one in data.items()}


class _Tuple:
    """A tuple or a NamedTuple: each place of its own shape, or all of one."""

    def __init__(self, kind: type[Any], places: Sequence[Shape] | None, every: Shape | None) -> None:
        self._kind, self._places, self._every = kind, places, every

    def dump(self, value: Any) -> Any:
        _check_type(value, self._kind)
        return [shape.dump(one) for shape, one in self._pairs(value)]

    def load(self, data: Any, *, exact: bool) -> Any:
        _check_type(data, list)
        members = [shape.load(one, exact=exact) for shape, one in self._pairs(data)]
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

    def load(self, data: Any, *, exact: bool) -> Any:
        _check_type(data, dict)
        if data.keys() != self._fields.keys():
            raise Unkeepable(f"fields other than those of {name_of_type(self._kind)}")
        return self._kind(**{name: shape.load(data[name], exact=exact) for name, shape in self._fields.items()})


class _Model:
    """A pydantic model: written and read by its own JSON mode."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind

    def dump(self, value: Any) -> Any:
        _check_type(value, self._kind)
        data = value.model_dump(mode="json", by_alias=True, round_trip=True)
        check_plain(data)
        return data

    def load(self, data: Any, *, exact: bool) -> Any:  # noqa: ARG002
        validate = cast("Callable[[str], Any]", self._kind.model_validate_json)
        return validate(json.dumps(data))


class _Union:
    """One of several: the first that brings a value back as it was."""

    def __init__(self, members: Sequence[Shape]) -> None:
        # What a class can refuse is asked before what JSON has itself, which refuses nothing.
        self._members = sorted(members, key=lambda shape: isinstance(shape, Plain))

    def dump(self, value: Any) -> Any:
        fits = False
        for shape in self._members:
            try:
                data = shape.dump(value)
                again = self.load(data, exact=False)
                fits = True
                if same(again, value):
                    return data
            except (TypeError, ValueError):
                pass
        if fits:
            raise Unkeepable(f"a {type_name(value)} whose JSON reads as another of the union's types")
        raise Unkeepable(f"a {type_name(value)} is none of the union's types")

    def load(self, data: Any, *, exact: bool) -> Any:
        for shape in self._members:
            if isinstance(shape, Plain):
                if shape.claims(data):
                    return data
                continue
            try:
                return shape.load(data, exact=exact)
            except Exception:  # of a user's class
                pass
        raise Unkeepable("data that matches none of the annotated types")


def _check_type(value: object, kind: type[Any]) -> None:
    if type(value) is not kind:
        raise Unkeepable(f"a {type_name(value)} is not a {name_of_type(kind)}")
