"""What one call of `batch` or `abatch` was given, checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fanmap._batch_types import BatchProgress
from fanmap._plan import check_workers
from fanmap._policy.checks import check_count, check_flag, check_positive, is_finite
from fanmap._resume import Resume, check_resume
from fanmap._types import JournalOptions

TellProgress = Callable[[BatchProgress], object]


@dataclass(frozen=True, slots=True)
class Options:
    """What one call was given, checked."""

    resume: Resume
    unpack: bool
    return_exceptions: bool
    max_concurrency: int | None
    wait: float | None
    poll: float | None
    max_turns: int
    only: bool
    endpoints: tuple[str, ...]
    progress: TellProgress | None


def check_options(
    *,
    resume: object,
    journal: JournalOptions,
    unpack: bool,
    return_exceptions: bool,
    max_concurrency: int | None,
    wait: float | None,
    poll: float | None,
    max_turns: int,
    only: bool,
    endpoints: Iterable[str],
    progress: TellProgress | bool | None,
) -> Options:
    """The options of a call, or an error that names the parameter."""
    if resume is None:
        raise TypeError("resume must be the path of a file, got None: the file holds the job, which continues from it")
    journal.setdefault("durable", True)
    kept = check_resume(resume, journal)
    assert kept is not None
    for name, flag in (("unpack", unpack), ("return_exceptions", return_exceptions), ("only", only)):
        check_flag(name, flag)
    if max_concurrency is not None:
        check_workers(max_concurrency)
    if wait is not None:
        _check_wait(wait)
    if poll is not None:
        check_positive("poll", poll)
    check_count("max_turns", max_turns)
    if isinstance(endpoints, str):
        raise TypeError(f"endpoints must be a tuple of URLs, got a str: write ({endpoints!r},)")
    places = tuple(endpoints)
    for place in places:
        if not place.startswith(("http://", "https://")):
            raise ValueError(f"endpoints must be URLs such as 'http://host/v1', got {place!r}")
    tell = _Lines() if progress is True else progress or None
    return Options(
        kept, unpack, return_exceptions, max_concurrency, wait, poll, max_turns, only, places, tell
    )  # fmt: skip


def _check_wait(wait: object) -> None:
    if isinstance(wait, bool) or not isinstance(wait, (int, float)):
        from fanmap._hints import values  # only where something is wrong

        raise TypeError(f"wait must be >= 0 seconds or None, got {wait!r}{values.seconds(wait)}")
    if not (is_finite(wait) and wait >= 0):
        raise ValueError(f"wait must be >= 0 seconds or None, got {wait!r}")


class _Lines:
    """`progress=True`: a line on stderr whenever something has changed, and what it came to."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: BatchProgress) -> None:
        text = str(progress)
        if text != self._last:
            self._last = text
            print(f"fanmap: {text}", file=sys.stderr)
        if progress.summary is not None:
            print(progress.summary, file=sys.stderr)
