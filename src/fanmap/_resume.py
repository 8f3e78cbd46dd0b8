"""`resume=`: what a run keeps in a file, under which key, and how results become JSON and come back.

Imported by the first run that asks for it: hashing, JSON and locks of files are a fifth of what importing fanmap took.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import types
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fanmap._callables import innermost, is_generator_function
from fanmap._drive.calls.plan import Arguments, Plan
from fanmap._drive.journals.codec import Codec
from fanmap._drive.journals.journal import Journal
from fanmap._drive.journals.recording import Recording
from fanmap._policy.checks import check_answers, check_flag
from fanmap._policy.journals.converter import Converter
from fanmap._policy.journals.journal import Keys
from fanmap._policy.journals.plain import plain_text, why_not
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
        return self.open_with(function, plan, None)[0]

    def open_with(
        self, function: Callable[..., Any], plan: Plan, others: Callable[[dict[str, Any], int], None] | None
    ) -> tuple[Recording, Journal]:
        """The same, with the journal itself, whose lines with a `"kind"` are told to `others`."""
        codec = self._codec(function, plan)
        journal = Journal(self.path, durable=self.durable, others=others)
        if plan.budget.has_totals:
            plan.budget.count_kept(journal.absolute, journal.spent, journal.usual)
            plan.budget.set_aside(journal.absolute, journal.reserved)
        return Recording(journal, Keys(identity_of(function), self.version), codec), journal

    def _codec(self, function: Callable[..., Any], plan: Plan) -> Codec:
        assert plan.arguments is not None
        parts: Callable[[Any], tuple[Any, ...] | None] = functools.partial(_arguments, plan.arguments)
        if self.key is not None:
            parts = functools.partial(_key, self.key, _fixed(function))
        if self.encode is not None and self.decode is not None:
            encode, decode = functools.partial(_encode, self.encode), functools.partial(_decode, self.decode)
            return Codec(plan.name, parts, encode, decode, asks_again=False)
        try:
            converter = Converter(returned_by(function))
        except Exception as error:
            raise TypeError(
                f"resume= cannot store what {plan.name} returns: {why_not(error, 'reading')}. Pass encode= and decode=."
            ) from error
        return Codec(plan.name, parts, converter.encode, converter.decode, asks_again=True)


def check_resume(resume: object, options: JournalOptions) -> Resume | None:
    """The options beside `resume=`, or an error that names the parameter."""
    if resume is None:
        if options:
            raise TypeError(f"{', '.join(sorted(options))} needs resume=, the path of a file")
        return None
    if not isinstance(resume, (str, os.PathLike)):
        raise TypeError(f"resume must be the path of a file or None, got {type(resume).__name__}")
    path = os.fspath(cast("str | os.PathLike[str]", resume))
    if not isinstance(path, str) or not path:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"resume must be the path of a file, got {path!r}")
    for name, taken in (("key", "input"), ("encode", "result"), ("decode", "plain JSON")):
        given: object = options.get(name)
        if given is not None:
            if not callable(given):
                raise TypeError(f"{name} must be a function, got {type(given).__name__}")
            check_answers(name, given, taken)
    encode, decode = options.get("encode"), options.get("decode")
    if (encode is None) is not (decode is None):
        raise TypeError("encode and decode must be given together: decode reads what encode writes")
    version = options.get("version")
    if not (version is None or isinstance(version, (str, int))):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"version must be a str, an int or None, got {type(version).__name__}")
    durable = check_flag("durable", options.get("durable", False))
    return Resume(path, options.get("key"), encode, decode, version, durable)


def identity_of(function: Callable[..., Any]) -> str:
    """The name under which a function's results are kept: module and qualified name."""
    function = innermost(function)
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def returned_by(function: Callable[..., Any]) -> Any:
    """What the function says that it returns; Any where it says nothing that can be looked up."""
    function = innermost(function)
    if not _is_annotated(function):
        function = getattr(cast("type[Any]", type(function)), "__call__", function)  # noqa: B004
    said = _return_hint(function)
    if typing.get_origin(said) in (Iterable, AsyncIterable) and is_generator_function(function):
        return types.GenericAlias(list, typing.get_args(said)[:1])  # its chunks
    return said


def _is_annotated(function: Callable[..., Any]) -> bool:
    try:
        return hasattr(function, "__annotations__") or hasattr(function, "__annotate__")
    except Exception:  # they are evaluated, on 3.14
        return True


def _return_hint(function: Callable[..., Any]) -> Any:
    with contextlib.suppress(Exception):
        return typing.get_type_hints(function, include_extras=True).get("return", Any)
    # Perhaps a parameter's is a name that only type checkers see, or a class was made where the function was.
    try:
        said = _annotations(function)
        if "return" not in said:
            return Any
        alone: Any = types.SimpleNamespace(__annotations__={"return": said["return"]})
        inner: Any = inspect.unwrap(function)
        local = dict(inspect.getclosurevars(inner).nonlocals)
        return typing.get_type_hints(alone, inner.__globals__, local, include_extras=True)["return"]
    except Exception:
        return Any


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # where each is evaluated when it is asked for
        import annotationlib

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return function.__annotations__


def _arguments(arguments: Callable[[Any], Arguments], item: Any) -> tuple[Any, ...] | None:
    try:
        return arguments(item)
    except Exception:  # the call will say so, as the item's failure
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


def _encode(encode: Callable[[Any], object], value: Any) -> tuple[str, bool]:
    return plain_text(encode(value)), True


def _decode(decode: Callable[[Any], Any], data: Any, exact: bool) -> Any:  # noqa: ARG001
    return decode(data)
