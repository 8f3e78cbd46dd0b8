"""Why a run did not come to the end of its input, and what to do about it.

Pure but for the date. A reason is told by the exception that stopped the run: by its type, and how the library reads
it; what it says may be a prompt or a key, and is not repeated.
"""

from __future__ import annotations

import errno
import re
import time
from dataclasses import dataclass
from typing import Final

from fanmap import BudgetExceeded, DeadlineExceeded, JournalError, NotRun, SharedUnavailable, TooManyFailures
from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.verdict import OUTAGES
from fanmap._raw import is_a, text_of, traceback_of, type_name
from fanmap._run.priced import price_text
from fanmap._run.remote import NotRunThere, StandIn

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_OF_STORE: Final = (OSError, FileNotFoundError, PermissionError, RuntimeError, ValueError)
_LATER: Final = "later, or with a larger --max-wait, "


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run stopped.

    Attributes:
        text: what stopped it.
        first: what must be done before the same command can go on; "": nothing.
    """

    text: str
    first: str = ""

    @property
    def option(self) -> str:
        """The option that sets the bound it came to, or something else that stands before the colon."""
        return self.text.partition(":")[0]


DEADLINE: Final = Reason("--deadline")
TOO_MANY: Final = Reason("--max-failures", "after fixing what made them fail, ")
KEPT_WAITING: Final = Reason("--max-wait: the server refused calls for longer than that", _LATER)


def is_cut(error: BaseException) -> bool:
    """Does it stand for an item that the run did not call, or not to its end?

    The same types may come out of a run inside the item. Those were raised; these never were.
    """
    return is_a(error, NotRunThere) or (is_a(error, (NotRun, DeadlineExceeded)) and traceback_of(error) is None)


def reason_of_cut(error: BaseException) -> Reason | None:
    """The reason that stands behind an item that was not run; None: the run was told to stop."""
    while isinstance(error, NotRun):
        if error.__cause__ is None:
            return None
        error = error.__cause__
        if type(error) is TimeoutError:  # the library's own: nobody would wait as long as the server asks
            return KEPT_WAITING
    if isinstance(error, DeadlineExceeded):
        return DEADLINE
    if isinstance(error, TooManyFailures):
        return TOO_MANY
    if isinstance(error, BudgetExceeded):
        text = str(error)
        said = text.replace("max_spend=", "--max-spend ", 1)
        return Reason(said, "with a larger amount, " if said == text else "with a larger --max-spend, ")
    own = traceback_of(error) is None  # the library's, which nobody has raised
    if own and type(error) in _OF_STORE and (type(error) is not ValueError or "shared=" in str(error)):
        return Reason(f"the shared limits: {error}", "after fixing that, ")
    if own and type(error) is ValueError:  # money that cannot be counted
        said = price_text(str(error).removeprefix("max_spend cannot be enforced: "))
        return Reason(f"--max-spend: {said}", "after fixing that, ")
    if isinstance(error, JournalError):
        return Reason(f"the journal: {journal_text(error)}", before_writing_again(error.errno))
    return reason_of_failure(error) or Reason(type_name(error))


def reason_of_failure(error: BaseException) -> Reason | None:
    """The reason, if this failure of a call is of a kind that stops runs."""
    if (unavailable := _unavailable(error)) is not None:
        return unavailable
    verdict, name = error.verdict if isinstance(error, StandIn) else None, type_name(error)
    verdict = verdict or read_error(error, wall=time.time())
    if verdict.kind == "spent":
        return Reason(f"{name}: the account has no credit or quota left", "once it has some, ")
    if verdict.kind == "forbidden":
        return Reason(f"{name}: the server does not accept the key, or forbids the call", "with a key that works, ")
    if verdict.refused_to_start:
        return _too_long(verdict.wait)
    if verdict.kind in OUTAGES:
        return Reason(f"--max-wait: no call succeeded for that long ({name})", _LATER)
    return None


def _unavailable(error: BaseException) -> Reason | None:
    """The reason, if what processes share could not be reached; the library's own text, which says what and why."""
    name, text = type_name(error), text_of(error)
    if name != SharedUnavailable.__name__ or not text.startswith("shared="):  # a worker process tells no more of it
        return None
    return Reason(f"{name}: {text}", "once it can be reached, ")


def _too_long(wait: float | None) -> Reason:
    if wait is None:
        return KEPT_WAITING
    return Reason(
        f"--max-wait: the server asks to wait for {wait:.0f} s", f"after that, or with --max-wait {wait + 1:.0f}, "
    )


def before_writing_again(number: int | None) -> str:
    """What must be done about a file that could not be written."""
    return "once there is room, " if number in _FULL else "once it can be written, "


def journal_text(error: Exception) -> str:
    """What the library says of a journal, in the words of the command line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"^resume=(['\"])(.*?)\1 ", r"\2 ", text).replace("give resume= a path", "give --resume a path")
