"""What fanmap says of its own accord: once each, through the standard library, and never a prompt."""

from __future__ import annotations

import builtins
import logging
import os
import sys
import warnings
from contextlib import suppress
from types import FrameType

from fanmap._errors import NotRun
from fanmap._raw import is_a, traceback_of, type_name

logger = logging.getLogger("fanmap")
logger.addHandler(logging.NullHandler())
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Line:
    """A line for the log, to be written where a permit would be woken."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def wake(self) -> None:
        """Write it; what a handler raises is its own affair."""
        with suppress(Exception):
            logger.info(self._text)

    __call__ = wake


def log_refusal(name: str, index: int | None, kind: str, wait: float | None) -> None:
    """A server has refused to start a call; at DEBUG."""
    if logger.isEnabledFor(logging.DEBUG):
        item = "a call" if index is None else f"item {index}"
        named = "no wait named" if wait is None else f"wait {wait:.1f} s"
        with suppress(Exception):
            logger.debug("%s of %s refused (%s), %s", item, name, kind, named)


def log_resumed(name: str, path: str, results: int) -> None:
    """A run begins with results that are there already."""
    with suppress(Exception):
        logger.info("run of %s resumed: %d results in %r", name, results, path)


def warn_of_client_retries(name: str) -> None:
    """A client repeats by itself under us: it hides refusals from the limits and multiplies attempts."""
    text = (
        f"the client that {name} uses retries failed requests itself, where fanmap's limits do not see it. Create it "
        "with max_retries=0, for instance OpenAI(max_retries=0), or pass Limits(read_responses=True), which sees those "
        "retries"
    )
    advise(text)


def warn_of_nothing_settled(name: str) -> None:
    """`tpm=` is kept by guesses alone."""
    advise(
        f"tpm= relies on estimates alone: none of the first 20 calls of {name} reported its token usage. Return the "
        "whole reply, so that its usage can be read, or pass rate=Rate(tokens, cost=..., usage=...) instead of tpm="
    )


def warn_of_usage(name: str, error: BaseException | None) -> None:
    """A `usage` of the user's own raised, or (None) said what no call can take: what was charged stands."""
    what = "gave no number >= 0" if error is None else f"raised {type_name(error)}{_where(error)}"
    advise(
        f"the usage= of a Rate {what} for a result of {name}: such calls stay charged as they were. It is "
        "called with what the function returns; where it returns None, the charge stands without this warning"
    )


def warn_of_no_quota(name: str) -> None:
    """A server that does not tell the limit that was to be followed."""
    what = "requests" if name == "rpm" else "tokens"
    advise(
        f'{name}="auto" follows the limit of {what} that a server states in its response headers. This server states '
        f"none, so none applies: if you know the number, write {name}=NUMBER",
        within_client=True,
    )


def warn_of_unpriced(reason: object) -> None:
    """A response that nobody could price, where that stops nothing."""
    advise(f"stats.spent does not include calls without a price: {reason}", within_client=True)


def warn_of_unknown_client(method: str) -> None:
    """A client whose method has changed: its responses are not read."""
    advise(
        f"{method} has a signature that fanmap does not know, so its responses are not read. Return the whole reply, "
        "so that its usage can be read, or give a Rate your own usage="
    )


def warn_of_smaller_settings(name: str, said: str) -> None:
    """Another process has the same name with smaller numbers, which hold for all."""
    advise(f"shared={name!r}: the smallest value among the processes applies: {said}")


_warned_of_copies = False


def warn_of_copied_limits(shown: str) -> None:
    """A Limits came by value, and is not what it was where it came from; once a process."""
    global _warned_of_copies
    if not _warned_of_copies:
        _warned_of_copies = True
        advise(
            f"{shown} came here from another process, and every process now has a budget of its own: for one budget "
            'write Limits(..., shared="NAME")'
        )


_warned_of_blocking = False


def warn_of_blocking(name: str, instead: str | None = None) -> None:
    """A blocking run stops the event loop that runs here; once a process, and not in a notebook, where that is how."""
    global _warned_of_blocking
    if _warned_of_blocking or _in_a_notebook():
        return
    _warned_of_blocking = True
    advise(
        f"a blocking run of {name} blocks the running event loop, and everything else on it, until it ends: write "
        + (instead or f"`await {name}.amap(...)` or `async for ... in {name}.imap(...)`")
    )


class DamagedRecords(UserWarning):
    """What `warn_of_damage` says.

    Attributes:
        path: of the journal.
        what: became of which records.
    """

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"resume={path!r}: {what}")
        self.path = path
        self.what = what


def warn_of_damage(path: str, lines: int) -> None:
    """Records of a journal that cannot be believed."""
    advise(DamagedRecords(path, f"{lines} damaged record(s) skipped; their items run again"))


def warn_of_unfit_results(path: str, count: int, name: str) -> None:
    """Results in a journal that are not what the function's annotation says (any more)."""
    advise(
        f"resume={path!r}: {count} stored result(s) do not match the return type of {name}; their items were run again"
    )


def warn_of_broken_journal(error: Exception) -> None:
    """What finished is in the caller's hands, and not all of it in the file."""
    advise(f"results were not kept: {error}")


class UnreadInput(UserWarning):
    """What `warn_of_unread_input` says."""


def warn_of_unread_input(name: str, reason: BaseException) -> None:
    """A loop over outcomes ends as if the input had, and nothing in it says that there was more."""
    why = str(reason) if is_a(reason, NotRun) else type_name(reason)  # other texts may have a prompt in them
    advise(UnreadInput(f"the rest of the input of {name} was not read, as the run was stopped: {why}"))


def warn_of_progress(what: str, error: BaseException) -> None:
    """What shows a run's progress fails; the run goes on."""
    advise(f"{what} raised {type_name(error)}{_where(error)}: the run continues")


class UnwrittenTrace(UserWarning):
    """What `warn_of_trace` says.

    Attributes:
        path: of the drawing.
        why: it was not written.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"trace={path!r} could not be written: {why}")
        self.path = path
        self.why = why


def warn_of_trace(path: str, error: BaseException) -> None:
    """The drawing of a run could not be written when it was over."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else type_name(error)
    advise(UnwrittenTrace(path, why))


def warn_of_opposite_orders(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Two Limits are asked for inside each other, in both orders; each pair is (outer function, inner function)."""
    advise(
        f"{one[0]} calls {one[1]} while it holds a slot of its own Limits, and {other[0]} calls {other[1]} in the "
        "opposite order. When both Limits are full, each waits for the other forever. Take them in the same order "
        "everywhere, or give these functions one Limits"
    )


def _where(error: BaseException) -> str:
    """The line that raised it: its text may hold users' data, a line of a program does not."""
    step = traceback_of(error)
    if step is None:
        return ""
    while step.tb_next is not None:
        step = step.tb_next
    return f" in {os.path.basename(step.tb_frame.f_code.co_filename)}, line {step.tb_lineno}"


def _in_a_notebook() -> bool:
    # IPython puts this name where every module finds it, and is not imported to be asked; marimo's cells import it.
    return hasattr(builtins, "get_ipython") or "marimo" in sys.modules


def advise(text: str | Warning, *, within_client: bool = False) -> None:
    """Warn at the line of the user's that led here. `within_client`: a client of theirs may stand between it and us."""
    try:
        if sys.version_info >= (3, 12) and not within_client:
            warnings.warn(text, skip_file_prefixes=(_PACKAGE,))
        else:
            warnings.warn(text, stacklevel=_levels_to_the_user(within_client=within_client))
    except Exception:  # warnings are errors here, or there is nowhere to write them; a run must not die of advice
        with suppress(Exception):  # nor of a handler
            logger.warning(text)


def _levels_to_the_user(*, within_client: bool) -> int:
    """How many callers up the first line is that is not ours, as `warnings.warn` counts for whoever asks here.

    Within a client that is the client's. The function that we called, and that calls it, is the last one before ours.
    """
    level, frame = 1, sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and _is_ours(frame):
        level, frame = level + 1, frame.f_back
    if within_client:
        called = level
        while frame.f_back is not None:
            if _is_ours(frame.f_back):
                return called
            called, frame = called + 1, frame.f_back
    return level


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)
