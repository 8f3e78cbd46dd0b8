"""What a user's function is: its name, its kind, and what it is with some of its arguments fixed.

Looks at functions; calls none.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal, cast


def name_of(function: Any) -> str:
    """The function's name, for notes and messages."""
    function = innermost(function)
    return getattr(function, "__name__", None) or type(function).__name__


def is_coroutine_function(function: Any) -> bool:
    """Does calling it give a coroutine? Looks through partials and callable objects."""
    return any(inspect.iscoroutinefunction(one) for one in _both(function))


def is_generator_function(function: Any) -> Literal["sync", "async"] | None:
    """Does calling it give a generator, and of which kind?"""
    if any(inspect.isgeneratorfunction(one) for one in _both(function)):
        return "sync"
    return "async" if any(inspect.isasyncgenfunction(one) for one in _both(function)) else None


def _both(function: Any) -> tuple[Any, Any]:
    function = innermost(function)
    return function, getattr(cast("type[Any]", type(function)), "__call__", None)  # noqa: B004 (the class's own: calling a class makes an instance)


def innermost(function: Any) -> Any:
    """The function that a partial, or several around each other, calls in the end."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[Any]", function).func
    return function


def fixed(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> functools.partial[Any]:
    """The function with these arguments fixed; TypeError where its own signature has no place for them."""
    try:
        # What a wrapper takes decides, not what it wraps.
        signature = inspect.signature(function, follow_wrapped=False)
    except (ValueError, TypeError):  # a builtin that does not tell
        return functools.partial(function, *args, **kwargs)
    try:
        signature.bind_partial(*args, **kwargs)
    except TypeError as error:
        from fanmap._hints import arguments  # only where something is wrong

        raise TypeError(arguments.no_place(function, name_of(function), signature, kwargs, error)) from None
    return functools.partial(function, *args, **kwargs)


def mark_as_coroutine_function(function: Any) -> None:
    """Have `iscoroutinefunction`, inspect's and asyncio's, say yes to something that is none by its code."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        # asyncio's looks for its own mark; inspect's came with 3.12.
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]


def unmark_as_coroutine_function(function: Callable[..., Any]) -> None:
    """A blocking function is no coroutine function, whatever marks it copied from the async one."""
    for mark in ("_is_coroutine_marker", "_is_coroutine"):
        function.__dict__.pop(mark, None)
