"""The edge of every public call: wrong arguments get the line to write, and tracebacks lose fanmap's own frames."""

from __future__ import annotations

import dis
import functools
import inspect
import math
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar, cast

from fanmap._errors import BridgeError, CallTimeout, DeadlineExceeded, JournalError, NotRun
from fanmap._raw import is_a, traceback_of
from fanmap._types import JournalOptions

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=BaseException)

_OUR_WORDS = (BridgeError, CallTimeout, DeadlineExceeded, JournalError, NotRun, TypeError, ValueError)
_RAISE = dis.opmap["RAISE_VARARGS"]
_call_sites: set[CodeType] = set()  # where users' functions are called


def public(function: F) -> F:
    """The same function, at the edge between a user's code and ours.

    Arguments that it does not take are a TypeError that says what to write, before anything else happens. Of what
    it raises, the traceback goes from the caller's line through one frame of ours, which pytest and IPython hide, to
    the failing line.
    """
    code = function.__code__
    most = math.inf if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    names = frozenset(code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount])
    if code.co_flags & inspect.CO_VARKEYWORDS:  # of a run: `**journal`
        names |= JournalOptions.__annotations__.keys()

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            if len(args) > most or not kwargs.keys() <= names:
                __tracebackhide__ = True
                raise _misuse(function, names, args, kwargs)
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                __tracebackhide__ = True
                _say_what_is_missing(function, args, kwargs, error)
                raise without_our_frames(error)

        return cast("F", awaiting)

    @functools.wraps(function)
    def calling(*args: Any, **kwargs: Any) -> Any:
        if len(args) > most or not kwargs.keys() <= names:
            __tracebackhide__ = True
            raise _misuse(function, names, args, kwargs)
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            __tracebackhide__ = True
            _say_what_is_missing(function, args, kwargs, error)
            raise without_our_frames(error)

    return cast("F", calling)


def calls_users(function: F) -> F:
    """The same function, known to call a user's, as are the functions in it.

    What such a call raises before the user's code has run is about its arguments: it is the caller's to mend.
    """
    code = function.__code__
    _call_sites.update((code, *(one for one in code.co_consts if isinstance(one, CodeType))))
    return function


def without_our_frames(error: E) -> E:
    """The error as it is raised again in the frame that caught it: without our frames below that one.

    Those between the caller's code and the failing one go. Where every frame is ours they stay, for whoever has to
    mend a fault of fanmap's, but for what is said to the caller.
    """
    caught: TracebackType | None = traceback_of(error)
    below = first = None if caught is None else caught.tb_next  # raising adds the frame that caught it anew
    last = caught
    while first is not None and is_ours(first.tb_frame):
        last, first = first, first.tb_next
    if first is None and not (last is not None and is_a(error, _OUR_WORDS) and _is_for_the_caller(last)):
        first = below
    BaseException.with_traceback(error, first)
    return error


def _is_for_the_caller(last: TracebackType) -> bool:
    """Was it raised on purpose, or by the call of a user's function with arguments that do not fit?"""
    code = last.tb_frame.f_code
    return code.co_code[last.tb_lasti] == _RAISE or code in _call_sites


def from_the_failing_frame(error: BaseException) -> None:
    """The error, as it is handed out instead of raised: its traceback begins with the first frame that is not ours."""
    first: TracebackType | None = traceback_of(error)
    while first is not None and is_ours(first.tb_frame):
        first = first.tb_next
    if first is not None:
        BaseException.with_traceback(error, first)


def is_ours(frame: FrameType) -> bool:
    """Is this code of fanmap's, other than a simulated client's?"""
    module: str = frame.f_globals.get("__name__", "")  # not its file: what dataclasses write has none
    return (module == "fanmap" or module.startswith("fanmap.")) and not module.startswith("fanmap.testing.")


def _say_what_is_missing(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException
) -> None:
    """Python's own words for a call that lacks an argument name our classes; these name what to write."""
    caught = traceback_of(error)
    if type(error) is TypeError and caught is not None and caught.tb_next is None:  # not a line of it has run
        from fanmap._hints import arguments  # only where something is wrong

        error.args = (arguments.unbound(function, args, kwargs, error),)


def _misuse(
    function: Callable[..., Any], names: frozenset[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TypeError:
    """What to write instead; coroutines that were given are closed, since nobody will await them."""
    from fanmap._hints import arguments  # only where something is wrong

    for one in (*args, *kwargs.values()):
        entries = cast("list[object]", one) if isinstance(one, (list, tuple)) else [one]
        for entry in entries:
            if inspect.iscoroutine(entry):
                entry.close()
    return TypeError(arguments.misuse(function, names, args, kwargs))
