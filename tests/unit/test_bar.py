"""What a bar says at a given width: it fits, and the reason is there to the last."""

from __future__ import annotations

import io

import pytest

from fanmap._bar import fit
from fanmap._types import NOT_BEGUN

tqdm = pytest.importorskip("tqdm").tqdm
STATS = NOT_BEGUN.__class__(**{
    **{name: getattr(NOT_BEGUN, name) for name in NOT_BEGUN.__slots__ if hasattr(NOT_BEGUN, name)},
    **{name: getattr(NOT_BEGUN, name) for name in NOT_BEGUN.__class__.__mro__[1].__slots__},
    "total": 1000, "done": 412, "failed": 3, "refused": 26, "resumed": 120,
})  # fmt: skip


def shown(columns, waiting_for, *, total=1000, spent="1.2M tokens"):
    bar = tqdm(total=total, desc="translate", unit="call", ncols=columns, file=io.StringIO())
    bar.n = 412
    bar.start_t -= 50
    bar.bar_format, said = fit(bar, STATS, spent, waiting_for)
    bar.set_postfix_str(said, refresh=False)
    text = str(bar)
    bar.leave = False
    bar.close()
    return text


@pytest.mark.parametrize("waiting_for", ["slot", "rate", "gate", "repeat"])
@pytest.mark.parametrize("columns", [200, 120, 80, 50, 30])
def test_it_fits_and_the_reason_is_readable(columns, waiting_for):
    text = shown(columns, waiting_for)
    assert len(text) <= columns
    word = {"slot": "slot", "rate": "rate", "gate": "wait", "repeat": "try"}[waiting_for]
    assert word in text
    assert "412/1000" in text


def test_with_room_everything_is_said_and_with_little_the_reason_and_the_count():
    assert "resumed 120, failed 3, refused 26, 1.2M tokens, waiting for the rate]" in shown(200, "rate")
    assert shown(80, "rate").endswith("waits for rate]")
    assert "failed 3" in shown(50, "rate")
    assert shown(30, "rate") == "412/1000, waits for rate"
    assert shown(30, None).startswith("412/1000")


def test_without_a_total_it_fits_as_well():
    for columns in (80, 50, 30):
        assert len(shown(columns, "gate", total=None)) <= columns


def test_where_nobody_knows_the_width_everything_is_said():
    assert "waiting for the rate" in shown(None, "rate")
