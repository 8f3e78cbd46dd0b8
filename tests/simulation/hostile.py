"""Exceptions that object to being looked at, in every combination: for hypothesis, and for a seeded `Random`.

`Hostile.quirks` says what a class does, `made` makes one instance of it, `among` puts it where a program might:
bare, raised from another one, in a group.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, make_dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

SHAPES = ("plain", "slots", "frozen", "frozen slots", "falsy", "group")
PLACES = ("bare", "from another", "another from it", "in a group", "in two groups")


class Complaint(BaseException):
    """What nobody expects out of an attribute."""


COMPLAINTS: tuple[type[BaseException], ...] = (
    RuntimeError, AttributeError, TypeError, KeyError, StopIteration, RecursionError, MemoryError,
    asyncio.CancelledError, GeneratorExit, Complaint,
)  # fmt: skip
INTERRUPTS: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit)

# What an exception of a client has, and what every exception has.
_CLIENTS = (
    "status_code", "status", "code", "type", "message", "body", "details", "headers", "request", "response",
    "raw_response", "reason", "error_code", "litellm_response_headers", "http_status",
)  # fmt: skip
_OWN = ("args", "__traceback__", "__cause__", "__context__", "__suppress_context__", "__dict__")


def _raising(complaint: type[BaseException]) -> Any:
    def complain(*_: object, **__: object) -> Any:
        raise complaint("do not look at me")

    return complain


def _odd(complaint: type[BaseException]) -> object:
    """No text, no number, no mapping, and raises when it is asked."""
    complain = _raising(complaint)
    return type("Odd", (), dict.fromkeys(("__getattr__", "__str__", "__iter__", "__len__", "__bool__"), complain))()


class _Text(str):
    def __getitem__(self, key: object) -> Any:
        raise RuntimeError("not in parts")

    def __format__(self, spec: str) -> str:
        raise RuntimeError("not in a text")

    lower = encode = __getitem__  # type: ignore[assignment]


def _quirk(name: str, complaint: type[BaseException]) -> dict[str, Any]:
    complain = _raising(complaint)
    raises = property(complain)

    def getattribute(self: object, attribute: str) -> Any:
        # `__init__` and the interpreter's own machinery go on.
        if attribute in ("__init__", "__class__", "__reduce_ex__"):
            return object.__getattribute__(self, attribute)
        raise complaint(attribute)

    quirks: dict[str, dict[str, Any]] = {
        "str": {"__str__": complain},
        "str is no str": {"__str__": lambda self: 5},
        "str is odd": {"__str__": lambda self: _Text("text")},
        "repr": {"__repr__": complain},
        "format": {"__format__": complain},
        "getattr": {"__getattr__": complain},
        "getattr says yes": {"__getattr__": lambda self, name: _odd(complaint)},
        "getattribute": {"__getattribute__": getattribute},
        "setattr": {"__setattr__": complain},
        "delattr": {"__delattr__": complain},
        "add_note": {"add_note": complain},
        "add_note is a text": {"add_note": "none"},
        "notes raises": {"__notes__": raises},
        "notes is a text": {"__notes__": "see the manual"},
        "notes is a tuple": {"__notes__": ("see the manual",)},
        "notes is shared": {"__notes__": ["see the manual"]},
        "notes is None": {"__notes__": None},
        "notes is a number": {"__notes__": 7},
        "class": {"__class__": raises},
        "class lies": {"__class__": property(lambda self: KeyboardInterrupt)},
        "bool": {"__bool__": complain},
        "empty": {"__len__": lambda self: 0},
        "eq": {"__eq__": complain, "__hash__": complain},
        "unhashable": {"__hash__": None},
        "with_traceback": {"with_traceback": complain},
        "reduce": {"__reduce__": complain, "__reduce_ex__": complain},
        "clients": dict.fromkeys(_CLIENTS, raises),
        "clients are odd": {name: property(lambda self: _odd(complaint)) for name in _CLIENTS},
        "own": dict.fromkeys(_OWN, raises),
        "del": {"__del__": lambda self: None},
    }
    return quirks[name]


QUIRKS = (
    "str", "str is no str", "str is odd", "repr", "format", "getattr", "getattr says yes", "getattribute", "setattr",
    "delattr", "add_note", "add_note is a text", "notes raises", "notes is a text", "notes is a tuple",
    "notes is shared", "notes is None", "notes is a number", "class", "class lies", "bool", "empty", "eq",
    "unhashable", "with_traceback", "reduce", "clients", "clients are odd", "own", "del",
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One exception to make.

    Attributes:
        quirks: what its class does.
        complaint: what its attributes raise.
        shape: how its class is made.
        place: where it stands.
    """

    quirks: tuple[str, ...] = ()
    complaint: type[BaseException] = RuntimeError
    shape: str = "plain"
    place: str = "bare"

    def made(self) -> Exception:
        """The exception itself."""
        namespace: dict[str, Any] = {}
        for quirk in self.quirks:
            namespace |= _quirk(quirk, self.complaint)
        if self.shape == "group":
            kind = type("HostileGroup", (ExceptionGroup,), namespace)
            return kind("several", [ValueError("one"), ValueError("two")])
        if self.shape.startswith("frozen"):
            for ours in ("__setattr__", "__delattr__"):
                namespace.pop(ours, None)
            made = make_dataclass(
                "HostileFrozen", [], bases=(Exception,), namespace=namespace, frozen=True, eq=False,
                repr=False, slots=self.shape == "frozen slots",
            )  # fmt: skip
            return made()  # type: ignore[no-any-return]
        if self.shape == "slots":
            namespace["__slots__"] = ()
        if self.shape == "falsy":
            namespace.setdefault("__bool__", lambda self: False)
        kind = type("HostileError", (Exception,), namespace)
        return kind("a failure")  # type: ignore[no-any-return]

    def among(self) -> Exception:
        """The exception where it stands: what a function then raises."""
        error = self.made()
        if self.place == "from another":
            BaseException.__dict__["__cause__"].__set__(error, ConnectionError("below"))
        elif self.place == "another from it":
            above = ValueError("above")
            above.__cause__ = error
            return above
        elif self.place.startswith("in "):
            group = ExceptionGroup("several", [error, ValueError("beside it")])
            return group if self.place == "in a group" else ExceptionGroup("more", [group])
        return error


def hostile(random: Random) -> Hostile:
    """One of them by chance: few quirks as often as many."""
    return Hostile(
        tuple(random.sample(QUIRKS, random.choice((1, 1, 2, 4, len(QUIRKS))))),
        random.choice(COMPLAINTS),
        random.choice(SHAPES),
        random.choice(PLACES),
    )


def hostiles(
    complaints: tuple[type[BaseException], ...] = COMPLAINTS, places: tuple[str, ...] = PLACES
) -> st.SearchStrategy[Hostile]:
    """All of them, for hypothesis."""
    return st.builds(
        Hostile,
        quirks=st.lists(st.sampled_from(QUIRKS), unique=True).map(tuple),
        complaint=st.sampled_from(complaints),
        shape=st.sampled_from(SHAPES),
        place=st.sampled_from(places),
    )
