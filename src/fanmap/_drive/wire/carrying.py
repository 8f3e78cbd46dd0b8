"""An observer follows the threads that are started where it is set, one step: by `start`, and by a pool's `submit`.

That one variable is carried along, and nothing else. (Tasks inherit it anyway.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from fanmap._drive.notices import logger
from fanmap._drive.wire.observing import Observer, Unwind, observer, reset, unwound_by


def carrying_start(bound: Callable[[Any], Callable[..., Any]]) -> Any:
    """`Thread.start`, which carries."""

    def start(self: Any, *args: Any, **kwargs: Any) -> Any:
        watching = observer.get()
        put_back = _nothing if watching is None else _carry(self, watching)
        try:
            return bound(self)(*args, **kwargs)
        except BaseException:  # it was started before, or there are too many
            put_back()
            raise

    return start


def _nothing() -> None:
    pass


def _carry(thread: Any, watching: Observer) -> Callable[[], None]:
    """Have the thread begin with this observer; what this returns undoes it."""
    attributes: dict[str, Any] = thread.__dict__  # not by its own `__setattr__`, which may be anything
    own = attributes.get("run")
    try:
        run = thread.run
    except Exception as failure:
        logger.debug("a thread could not be followed: %s", type(failure).__name__)
        return _nothing

    def put_back() -> None:  # or the thread and this function would keep each other
        if own is None:
            attributes.pop("run", None)
        else:
            attributes["run"] = own

    def carried() -> None:
        put_back()
        observer.set(watching)
        try:
            run()
        except Unwind:  # which is not the thread's failure, and is told already
            pass

    attributes["run"] = carried
    return put_back


def carrying_submit(bound: Callable[[Any], Callable[..., Any]]) -> Any:
    """`ThreadPoolExecutor.submit`, which carries."""

    def submit(self: Any, *args: Any, **kwargs: Any) -> Any:
        watching = observer.get()
        if watching is None or not args:
            return bound(self)(*args, **kwargs)
        function, *rest = args

        def carried(*given: Any, **named: Any) -> Any:
            outside, before = observer.set(watching), unwound_by.set(None)
            try:
                return function(*given, **named)
            finally:
                unwound_by.reset(before)  # its next function has caught nothing
                reset(outside)

        # The pool's thread, which this may start, lives longer than this call: it carries nothing itself.
        outside = observer.set(None)
        try:
            return bound(self)(function if _is_of_interpreters(self) else carried, *rest, **kwargs)
        finally:
            reset(outside)

    return submit


def _is_of_interpreters(pool: Any) -> bool:
    """Does it hand functions to other interpreters (Python 3.14)? Ours cannot go there, and nothing there is seen."""
    module = sys.modules.get("concurrent.futures.interpreter")
    return module is not None and isinstance(pool, module.InterpreterPoolExecutor)
