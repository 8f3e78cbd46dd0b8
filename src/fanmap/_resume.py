"""`resume=`: what a run keeps in a file, under which key, and how results become JSON and come back.

Imported by the first run that asks for it: hashing, JSON and locks of files are a fifth of what importing fanmap took.
"""

from __future__ import annotations

import functools
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fanmap._drive.calls import Arguments, Plan
from fanmap._drive.journal import Journal
from fanmap._drive.recording import Codec, Recording
from fanmap._plan import innermost
from fanmap._policy.journal import Keys
from fanmap._policy.plain import plain_text
from fanmap._policy.shapes import encoder, shape_of
from fanmap._types import JournalOptions


@dataclass(frozen=True, slots=True)
class Resume:
    """The options of one run's journal, checked."""

    path: str
    key: Callable[[Any], object] | None
    encode: Callable[[Any], object] | None
    decode: Callable[[Any], Any] | None
    version: str | int | None
    durable: bool

    def open(self, function: Callable[..., Any], plan: Plan) -> Recording:
        """Open the file for one run of this function.

        Raises:
            JournalError: it cannot be used.
            TypeError: nothing can be kept of what the function says that it returns.
        """
        codec = self._codec(function, plan)
        journal = Journal(self.path, durable=self.durable)
        return Recording(journal, Keys(identity_of(function), self.version), codec)

    def _codec(self, function: Callable[..., Any], plan: Plan) -> Codec:
        assert plan.arguments is not None
        parts: Callable[[Any], tuple[Any, ...] | None] = functools.partial(_arguments, plan.arguments)
        if self.key is not None:
            parts = functools.partial(_key, self.key, _fixed(function))
        if self.encode is not None and self.decode is not None:
            return Codec(plan.name, parts, functools.partial(_encode, self.encode), self.decode)
        annotation = returned_by(function)
        try:
            shape = shape_of(annotation)
        except (TypeError, NameError) as error:
            raise TypeError(
                f"resume= cannot keep what {plan.name} returns ({error}): give encode= and decode="
            ) from error
        return Codec(plan.name, parts, encoder(shape), shape.load)


def check_resume(resume: object, options: JournalOptions) -> Resume | None:
    """The options beside `resume=`, or an error that names the parameter."""
    for name in options.keys() - JournalOptions.__annotations__.keys():
        raise TypeError(f"a run got an unexpected keyword argument {name!r}: {_where(name)}")
    if resume is None:
        if options:
            raise TypeError(f"{', '.join(sorted(options))} needs resume=, the path of a file")
        return None
    if not isinstance(resume, (str, os.PathLike)):
        raise TypeError(f"resume must be the path of a file or None, got {type(resume).__name__}")
    path = os.fspath(cast("str | os.PathLike[str]", resume))
    if not isinstance(path, str) or not path:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"resume must be the path of a file, got {path!r}")
    for name in ("key", "encode", "decode"):
        given: object = options.get(name)
        if given is not None and not callable(given):
            raise TypeError(f"{name} must be a function, got {type(given).__name__}")
    encode, decode = options.get("encode"), options.get("decode")
    if (encode is None) is not (decode is None):
        raise TypeError("encode and decode must be given together: what one writes the other reads")
    version = options.get("version")
    if not (version is None or isinstance(version, (str, int))):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"version must be a str, an int or None, got {type(version).__name__}")
    return Resume(path, options.get("key"), encode, decode, version, bool(options.get("durable", False)))


def _where(name: str) -> str:
    """Where an option belongs that a run does not have."""
    if name in ("rpm", "tpm", "rate", "retry", "timeout", "limits"):
        return f"write it in the decorator, parallel_map({name}=...)"
    if name in ("max_workers", "workers", "concurrency", "n_jobs", "limit"):
        return "calls at once are max_concurrency"
    return f"an argument that is the same for every item goes to .partial({name}=...)"


def identity_of(function: Callable[..., Any]) -> str:
    """The name under which a function's results are kept: module and qualified name."""
    function = innermost(function)
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def returned_by(function: Callable[..., Any]) -> Any:
    """What the function says that it returns; Any where it says nothing that can be looked up."""
    function = innermost(function)
    if not hasattr(function, "__annotations__"):
        function = getattr(cast("type[Any]", type(function)), "__call__", function)  # noqa: B004
    try:
        return typing.get_type_hints(function, include_extras=True).get("return", Any)
    except Exception:  # a name that only type checkers see
        return Any


def _arguments(arguments: Callable[[Any], Arguments], item: Any) -> tuple[Any, ...] | None:
    try:
        return arguments(item)
    except TypeError:  # the call will say so, as the item's failure
        return None


def _key(key: Callable[[Any], object], fixed: tuple[Any, ...], item: Any) -> tuple[Any, ...]:
    try:
        return (key(item), *fixed)
    except StopIteration as error:  # would pass for the end of the input
        raise RuntimeError("key raised StopIteration") from error


def _fixed(function: Callable[..., Any]) -> tuple[Any, ...]:
    if isinstance(function, functools.partial):
        whole = cast("functools.partial[Any]", function)
        return whole.args, whole.keywords
    return ()


def _encode(encode: Callable[[Any], object], value: Any) -> str:
    return plain_text(encode(value))
