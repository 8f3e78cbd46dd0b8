"""What had finished when a run was cut short: kept on the exception that it ended with, and found there again."""

from __future__ import annotations

import copy
from typing import Any, Final, Protocol, Self

from fanmap import _raw

_PARTIAL: Final = "__fanmap_partial__"


class Unfinished(Protocol):
    """A run under way, or given up: what `imap` and `as_completed` return."""

    def __fanmap_partial__(self) -> dict[int, Any]: ...


def partial_results(source: BaseException | Unfinished) -> dict[int, Any]:
    """What had finished when a run ended with this exception, or of a run that nobody reads on.

    Args:
        source: what `map`, `amap`, `imap`, `as_completed` or `gather_bounded` raised, or what left the `with`
            block of the latter's results: an item's failure, a deadline, a cancellation or KeyboardInterrupt, or
            one that was raised in its place (`asyncio.run` and `asyncio.timeout` do that): the chain of
            `__cause__` and `__context__` is followed, and of nested runs the outermost counts. Or what `imap` or
            `as_completed` returned, under way or over.

    Returns:
        `{index of the input: result}`, by index; for `imap` and `as_completed` what was not handed out yet. Empty
        for an exception that ended no run. Of one that came from another process, the results that can be pickled.

    Raises:
        TypeError: it is neither.
    """
    if not _raw.is_a(source, BaseException):
        finished: Any = getattr(source, "__fanmap_partial__", None)
        if finished is None:
            kind = _raw.type_name(source)
            raise TypeError(f"source must be an exception, or what imap or as_completed returned, got {kind}")
        return finished()  # type: ignore[no-any-return]
    seen: set[int] = set()
    pending: BaseException | None = source  # type: ignore[assignment]
    while pending is not None and id(pending) not in seen:
        seen.add(id(pending))
        found: _Finished | dict[int, Any] | None = _raw.carried(pending, _PARTIAL)
        if found is not None:
            return dict(found.results if isinstance(found, _Finished) else found)
        pending = _raw.came_from(pending)
    return {}


def attach_partial(exception: BaseException, finished: dict[int, Any]) -> None:
    """Remember on the exception what had finished; an outer run writes over an inner one."""
    _raw.carry(exception, _PARTIAL, _Finished(finished))


class _Finished:
    """What had finished, on its exception, which is pickled as it would be without: a pool of processes does that.

    A result that cannot be pickled stays behind; else the pool would raise that in the place of the exception.
    """

    __slots__ = ("results",)

    def __init__(self, results: dict[int, Any]) -> None:
        self.results = results

    def __reduce__(self) -> Any:
        return dict, ({index: value for index, value in self.results.items() if _can_be_pickled(value)},)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(copy.deepcopy(self.results, memo))


def _can_be_pickled(value: object) -> bool:
    import pickle  # only where somebody does

    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True
