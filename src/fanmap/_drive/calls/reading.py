"""What an exception that came out of a call says: the one place where the engine looks at it.

Its attributes are properties, `__getattr__` and `__str__` of the user's and the client's; none of what these raise
gets out of here. Such an exception is read as one that says nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType
from typing import Final, TypeVar, cast

from fanmap._drive import clock
from fanmap._drive.notices import logger
from fanmap._policy.failures.connections import is_of_another_loop
from fanmap._policy.failures.hidden import client_retries
from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.verdict import Verdict
from fanmap._raw import INTERRUPTS, came_from, codes_of, is_a, traceback_of, type_name

T = TypeVar("T")
_LONGEST_CHAIN: Final = 16


@dataclass(frozen=True, slots=True)
class Reading:
    """What a failure says.

    Attributes:
        verdict: its kind, and the wait that it names.
        hidden: how often the client below has sent the request again by itself.
        other_loop: something was used on another event loop than its own.
    """

    verdict: Verdict
    hidden: int
    other_loop: bool


def read(error: BaseException, classify: Callable[[BaseException], object] | None) -> Reading:
    """Read it; the user's own reading comes first."""
    verdict = None if classify is None else _apply(classify, error)
    if verdict is None:
        wall = clock.wall()
        verdict = surviving(lambda: read_error(error, wall=wall), None) or Verdict("permanent")
    hidden = surviving(lambda: client_retries(error), 0)
    return Reading(verdict, hidden, surviving(lambda: is_of_another_loop(error), False))


def _apply(classify: Callable[[BaseException], object], error: BaseException) -> Verdict | None:
    """The user's own reading; one that fails, or is no Verdict, is logged and reads as None."""
    try:
        verdict = classify(error)
    except INTERRUPTS:
        raise
    except BaseException as failure:  # also what an attribute of the exception raises, whatever that is
        with suppress(Exception):
            name = type_name(failure)
            logger.error("classify raised %s for a %s; the error was read without it", name, type_name(error))
        return None
    if verdict is None or is_a(verdict, Verdict):
        return cast("Verdict | None", verdict)
    with suppress(Exception):
        name = type_name(verdict)
        logger.error("classify must return a Verdict or None, got a %s; the error was read without it", name)
    return None


def objects(error: BaseException, failure: BaseException) -> bool:
    """Was it the exception itself that raised this, when it was looked at?

    A user's strategy looks at it, and may have a bug of its own, which must be heard. One that came out of a method or
    property of the exception is none, nor is one of an exception that can't even say what it is.
    """
    if is_a(failure, INTERRUPTS) and threading.get_ident() == threading.main_thread().ident:
        return False
    own: set[CodeType] = set()
    seen: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):  # or one that it came from
        if seen is not None:
            own |= codes_of(type(seen))
            seen = came_from(seen)
    step = traceback_of(failure)
    while step is not None:
        if step.tb_frame.f_code in own:
            return True
        step = step.tb_next
    return surviving(lambda: (str(error), repr(error)), None) is None


def surviving(look: Callable[[], T], otherwise: T) -> T:
    """What the look comes to, or `otherwise` where it raises.

    KeyboardInterrupt and SystemExit in the main thread pass: nobody can tell one that an attribute raises from
    Ctrl-C. No signal is handled in any other thread, and no cancellation arrives where nothing is awaited.
    """
    try:
        return look()
    except INTERRUPTS:
        if threading.get_ident() == threading.main_thread().ident:
            raise
    except BaseException:
        pass
    return otherwise
