"""Why an item may have failed: notes for the first failure of a run. A look at types and names, never at values."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

from fanmap._public import is_ours

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def note_on(function: Callable[..., Any], name: str, item: Any, error: BaseException, *, unpack: bool) -> str | None:
    """What to write, where this item's shape or the function's is the likely cause; None: nothing is to be seen."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return None
    never_entered = isinstance(error, TypeError) and _never_entered(error)
    first = _first(signature)
    if never_entered and first == "self":
        return (
            f"{name} is a method and was given no object: write object.{name}.map(inputs), with @parallel_map above "
            "other decorators"
        )
    if never_entered and first == "cls":
        return f"{name} is a class method and was given no class: write @parallel_map above @classmethod"
    if inspect.isawaitable(item):
        return (
            f"the inputs are awaitables: write await gather_bounded(awaitables), or {name}.map(inputs) with the inputs "
            f"that {name} takes"
        )
    if unpack:
        return None
    if isinstance(item, tuple) and _fits_spread(signature, cast("tuple[Any, ...]", item)):
        return "each tuple was passed as one argument: with unpack=True its parts are the arguments"
    if isinstance(item, Mapping) and _fits_by_name(signature, cast("Mapping[Any, Any]", item)):
        kind = type(cast("object", item)).__name__
        return f"each {kind} was passed as one argument: with unpack=True its entries are the arguments"
    if never_entered and not signature.parameters:
        made = f": write parallel_map({name}())" if isinstance(function, type) and "__call__" in vars(function) else ""
        return f"{name} takes no argument, and each input is one{made}"
    if never_entered and not _takes_one(signature):
        if isinstance(function, functools.partial) and _first(signature) is None:
            return "each input is the first argument, which partial(...) has fixed by name"
        if _first(signature) is None:
            return f"{name} takes its arguments by name: give dicts and unpack=True"
        return (
            f"each input is one argument: fix the others with {name}.partial(name=value), or give tuples and "
            "unpack=True"
        )
    return None


def note_on_entry(entry: Any, error: BaseException) -> str | None:
    """The same for `gather_bounded`, which calls functions without arguments."""
    if not callable(entry) or not isinstance(error, TypeError) or not _never_entered(error):
        return None
    with suppress(ValueError, TypeError):  # a builtin that does not tell
        if _binds(inspect.signature(entry), (), {}):
            return None  # it was called, and what it returned is no awaitable
    name = getattr(entry, "__name__", "function")
    of_a_run = f", or await {name}.amap(inputs)" if hasattr(entry, "amap") else ""
    return f"functions are called without arguments: write functools.partial({name}, argument){of_a_run}"


def _never_entered(error: BaseException) -> bool:
    """Did the call itself fail, before the first line of the function?"""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None and is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    return traceback is None


def _first(signature: inspect.Signature) -> str | None:
    """The name of its first argument."""
    first = next(iter(signature.parameters.values()), None)
    return first.name if first is not None and first.kind in _POSITIONAL else None


def _fits_spread(signature: inspect.Signature, item: tuple[Any, ...]) -> bool:
    """Would its parts be arguments, each with a name, of a function that does not ask for a tuple?"""
    positional = [one for one in signature.parameters.values() if one.kind in _POSITIONAL]
    if not 1 <= len(item) <= len(positional):
        return False
    wanted = str(positional[0].annotation).lower()
    return not any(word in wanted for word in ("tuple", "sequence", "iterable")) and _binds(signature, item, {})


def _fits_by_name(signature: inspect.Signature, item: Mapping[Any, Any]) -> bool:
    return len(item) > 0 and all(name in signature.parameters for name in item) and _binds(signature, (), dict(item))


def _takes_one(signature: inspect.Signature) -> bool:
    return _binds(signature, (None,), {})


def _binds(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True
