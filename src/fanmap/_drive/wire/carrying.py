"""An observer follows the threads that are started where it is set, one step: by `start`, and by a pool's `submit`.

That one variable is carried along, and nothing else. (Tasks inherit it anyway.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
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

    def carried(*_: Any) -> None:  # some call what they find as a function of the class, with the thread
        put_back()
        observer.set(watching)
        todo: Callable[[], Any] | None = run
        while todo is not None:
            try:
                todo()
                break
            except Unwind as unwind:  # which is not the thread's failure, and is told already
                unwound_by.set(None)  # the thread's next job has caught nothing
                todo = _rest_of_pools_work(unwind)

    attributes["run"] = carried
    return put_back


def _rest_of_pools_work(unwind: Unwind) -> Callable[[], Any] | None:
    """What a thread of `multiprocessing.pool.ThreadPool` has left to do; None: it is none.

    Its loop catches exceptions, and not this one. The pool starts no other thread in place of one that has ended, and
    waits for ever for the job: it is told here what ended that.
    """
    worker: Any = getattr(sys.modules.get("multiprocessing.pool"), "worker", None)
    code, step = getattr(worker, "__code__", None), unwind.__traceback__
    while step is not None and step.tb_frame.f_code is not code:
        step = step.tb_next
    if step is None:
        return None
    found = step.tb_frame.f_locals
    inqueue, outqueue = found["inqueue"], found["outqueue"]
    if "job" not in found:  # it was ended by the pool's initializer
        return None
    outqueue.put((found["job"], found["i"], (False, unwind)))
    return partial(worker, inqueue, outqueue)


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
    return isinstance(pool, getattr(module, "InterpreterPoolExecutor", ()))
