"""A user's exception, handled without running a line of its class.

An exception class may define anything: the `__setattr__` of a frozen dataclass, a `__getattr__` that raises,
`__notes__` as a property, a `__class__` that lies, a `__len__` of 0 that makes it false. Whatever of it ran in
here could raise in the place of the failure that the caller asked about, or run user code inside the engine. So
what is carried on an exception goes into the dict that `BaseException` gives every instance, frozen or slotted
alike, and everything is reached through the descriptors of `BaseException` and `type`, which no class can stand
in front of.

That is also why there is no table beside the exceptions: one by identity leaks or, once an id is used again,
lies, and they cannot be referred to weakly.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType, TracebackType
from typing import Any, Final, cast

INTERRUPTS: Final = (KeyboardInterrupt, SystemExit)
"""What ends a program, and so every run."""

_dict_of: Callable[[BaseException], dict[str, Any]] = BaseException.__dict__["__dict__"].__get__
_cause_of: Callable[[BaseException], BaseException | None] = BaseException.__dict__["__cause__"].__get__
_context_of: Callable[[BaseException], BaseException | None] = BaseException.__dict__["__context__"].__get__
_traceback_of: Callable[[BaseException], TracebackType | None] = BaseException.__dict__["__traceback__"].__get__
_members_of: Callable[[Any], tuple[BaseException, ...]] = BaseExceptionGroup.__dict__["exceptions"].__get__
_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module_of: Callable[[type], Any] = type.__dict__["__module__"].__get__
_mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace_of: Callable[[type], Any] = type.__dict__["__dict__"].__get__
# Of a dict's subclass, too: an exception's dict can be replaced by one.
_plain_dict: Any = dict
_plain_list: Any = list

_NOTES: Final = "__notes__"
_NOTED: Final = "__fanmap_noted__"
_MOST_NOTES: Final = 8


def carry(error: BaseException, name: str, value: object) -> None:
    """Keep a value on an exception, whatever its class thinks of new attributes."""
    _plain_dict.__setitem__(_dict_of(error), name, value)


def carried(error: BaseException, name: str, otherwise: object = None) -> Any:
    """What `carry` has kept."""
    return _plain_dict.get(_dict_of(error), name, otherwise)


def note(error: BaseException, text: str) -> None:
    """Add one note, once however often the same text is added.

    None is added where the class has `__notes__` of its own kind (a property, a text): it is not ours to change. One
    that very many items raise, the same object, has the first few notes only.
    """
    noted: tuple[str, ...] = carried(error, _NOTED, ())
    if text in noted or len(noted) >= _MOST_NOTES:
        return
    carry(error, _NOTED, (*noted, text))
    notes = carried(error, _NOTES)
    if notes is None:
        notes = _notes_of_class(type(error))
        if type(notes) in (list, tuple):
            carry(error, _NOTES, [*notes, text])
    elif is_a(notes, list):
        _plain_list.append(notes, text)
    elif type(notes) is tuple:
        carry(error, _NOTES, (*cast("tuple[str, ...]", notes), text))


def _notes_of_class(kind: type) -> Any:
    """The notes that every instance of a class has; no instance may add to those."""
    for one in _mro_of(kind):
        if _NOTES in _namespace_of(one):
            notes = _namespace_of(one)[_NOTES]
            return [] if notes is None else notes
    return []


def came_from(error: BaseException) -> BaseException | None:
    """What it was raised from, or else what was being handled when it was raised."""
    cause = _cause_of(error)
    return _context_of(error) if cause is None else cause


def traceback_of(error: BaseException) -> TracebackType | None:
    """Where it was raised."""
    return _traceback_of(error)


def is_a(error: object, kinds: type | tuple[type, ...]) -> bool:
    """Whether it is one of these, as `except` has it: `isinstance` also asks its `__class__`, which may lie."""
    return issubclass(type(error), kinds)


def members(group: BaseExceptionGroup[BaseException]) -> tuple[BaseException, ...]:
    """The exceptions of a group, one level deep."""
    return _members_of(group)


def codes_of(kind: type) -> set[CodeType]:
    """The code of the methods and properties that a class has from its user."""
    found: set[CodeType] = set()
    for one in _mro_of(kind):
        for thing in _namespace_of(one).values():
            function = thing.fget if type(thing) is property else thing
            if type(function) is FunctionType:
                found.add(function.__code__)
    return found


def name_of_type(kind: type) -> str:
    """The name of a type, as a plain text, whatever its metaclass says."""
    return str.__str__(_name_of(kind))


def type_name(value: object) -> str:
    """The name of its type, in the same way."""
    return str.__str__(_name_of(type(value)))


def full_type_name(value: object) -> str:
    """Its module and its name within that, as tracebacks have it."""
    kind = type(value)
    name, module = str.__str__(_qualname_of(kind)), _module_of(kind)
    return f"{str.__str__(module)}.{name}" if is_a(module, str) and module != "builtins" else name


def text_of(error: BaseException, most: int | None = None) -> str:
    """What it says, at most so many characters (None: all); "" where its `__str__` fails.

    The one function in here that runs the user's code.
    """
    try:
        text = str(error)
    except INTERRUPTS:
        raise
    except BaseException:
        return ""
    return str.__getitem__(text, slice(most))  # a plain text, also of a subclass of str
