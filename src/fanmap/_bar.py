"""What a bar says, in as many columns as there are: the reason for which calls wait is the last thing to go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fanmap._types import RunStats, Wait

WAITS: dict[Wait, str] = {
    "slot": "waiting for a slot",
    "rate": "waiting for the rate",
    "gate": "the server asked to wait",
    "repeat": "waiting to try again",
}
SHORT: dict[Wait, str] = {
    "slot": "waits for slot", "rate": "waits for rate", "gate": "server: wait", "repeat": "waits to retry",
}  # fmt: skip
_LEAST_BAR = 4  # columns, or it is left out
_WITHOUT_BAR = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_COUNT_ALONE = "{n_fmt}/{total_fmt}{postfix}"


def fit(bar: Any, stats: RunStats, spent: str, waiting_for: Wait | None) -> tuple[str | None, str]:
    """A format for tqdm's bar (None: its own) and what stands behind it: the first that its columns have room for.

    Args:
        bar: that will show it.
        stats: of the run.
        spent: tokens or money; "": nobody knows.
        waiting_for: None: no call waits.
    """
    columns = getattr(bar, "ncols", None)
    choices = list(_choices(stats, spent, waiting_for))
    if not isinstance(columns, int) or columns <= 0:  # a notebook, or nobody knows
        return choices[0]
    for bar_format, said in choices:
        shown = bar.format_meter(
            **{**bar.format_dict, "ncols": None, "postfix": said, "bar_format": bar_format or "{l_bar}{r_bar}"}
        )
        if len(shown) + (_LEAST_BAR if bar_format is None else 0) <= columns:
            return bar_format, said
    return choices[-1]


def _choices(stats: RunStats, spent: str, waiting_for: Wait | None) -> Iterator[tuple[str | None, str]]:
    counts = (("resumed", stats.resumed), ("failed", stats.failed), ("refused", stats.refused))
    said = [f"{name} {count}" for name, count in counts if count]
    failed = [f"failed {stats.failed}"] if stats.failed else []
    money = [spent] if spent else []

    def with_reason(words: Callable[[Wait], str], *parts: str) -> str:
        return ", ".join([*parts, *([] if waiting_for is None else [words(waiting_for)])])

    yield None, with_reason(WAITS.__getitem__, *said, *money)
    yield None, with_reason(SHORT.__getitem__, *said, *money)
    yield _WITHOUT_BAR, with_reason(SHORT.__getitem__, *said, *money)
    yield _WITHOUT_BAR, with_reason(SHORT.__getitem__, *failed)
    yield _COUNT_ALONE, with_reason(SHORT.__getitem__, *failed)
    yield _COUNT_ALONE, with_reason(SHORT.__getitem__)
