"""What fanmap itself raises, and what had finished when a run was cut short.

No text here ever carries a prompt, a reply or a key: settings are shown, users' data is named by
type and index.
"""

from __future__ import annotations

from typing import Any

_PARTIAL = "__fanmap_partial__"
_NOTED = "__fanmap_noted__"


class CallTimeout(TimeoutError):
    """Raised when one attempt of a call took longer than `timeout=` seconds; queueing does not count.

    The call may have done its work: it is repeated only where `retry=Retry(...)` asks for it. A thread
    cannot be killed: the one that ran a `def` function is left behind and its result is dropped.
    """


class DeadlineExceeded(TimeoutError):
    """Raised when a run took longer than `deadline=` seconds; `partial_results` has what finished."""


class NotRun(Exception):
    """Stands for an item that never started because its run was stopped; `__cause__` is the reason, none where
    `stop()` was called.

    One that had been run ends with its own last failure instead, or with `DeadlineExceeded` where a deadline cut it.
    Raised where the server has asked for a longer wait than `max_wait`: by a call, and by a `with limits:` block.
    """


class Stopped(Exception):
    """Never raised: why a run stops that was told to by `stop()`."""


class BridgeError(RuntimeError):
    """Raised instead of a deadlock: a blocking call would wait for the very loop that it blocks."""


class JournalError(OSError):
    """Raised when the file given as `resume=` cannot be used, or can no longer be written.

    Nothing has been called yet, or: nothing more was started, calls under way ended, `partial_results` has what
    finished and every result that was written is still in the file. `__cause__` is the system's own error.
    """


def partial_results(exception: BaseException) -> dict[int, Any]:
    """What had finished when a run ended with this exception.

    Args:
        exception: what `map`, `amap`, `imap`, `as_completed` or `gather_bounded` raised: an item's
            failure, a deadline, a cancellation or KeyboardInterrupt, or one that was raised in its
            place (`asyncio.run` and `asyncio.timeout` do that): the chain of `__cause__` and
            `__context__` is followed, and of nested runs the outermost counts.

    Returns:
        `{index of the input: result}`, by index; for `imap` what was not handed out yet. Empty for an
        exception that ended no run.
    """
    seen: set[int] = set()
    pending: BaseException | None = exception
    while pending is not None and id(pending) not in seen:
        seen.add(id(pending))
        found: dict[int, Any] | None = getattr(pending, _PARTIAL, None)
        if found is not None:
            return dict(found)
        pending = pending.__cause__ or pending.__context__
    return {}


def attach_partial(exception: BaseException, finished: dict[int, Any]) -> None:
    """Remember on the exception what had finished; an outer run writes over an inner one."""
    try:
        setattr(exception, _PARTIAL, finished)
    except AttributeError:  # an exception class with __slots__ and no __dict__ cannot carry it
        pass


def note_item(exception: BaseException, text: str) -> None:
    """Add one note to an exception, once however often the same run meets the same exception."""
    try:
        noted: tuple[str, ...] = getattr(exception, _NOTED, ())
        if text not in noted:
            exception.add_note(text)
            setattr(exception, _NOTED, (*noted, text))
    except AttributeError:
        pass
