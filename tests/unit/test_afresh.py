"""An input is given to each run of its item as it was."""

from __future__ import annotations

from typing import Any

from fanmap._inputs import afresh


def test_lists_and_dicts_are_others_and_what_is_in_them_is_the_same() -> None:
    kept = object()
    given = {"messages": [{"role": "user", "content": ("a", [1])}], "kept": kept}
    copy = afresh(given)
    assert copy == given
    copy["messages"][0]["content"][1].append(2)
    copy["messages"].append("more")
    assert given == {"messages": [{"role": "user", "content": ("a", [1])}], "kept": kept}
    assert copy["kept"] is kept


def test_what_is_there_twice_is_copied_once() -> None:
    shared: list[Any] = []
    for _ in range(60):  # 2 ** 60 places
        shared = [shared, shared]
    copy = afresh(shared)
    assert copy is not shared
    assert copy[0] is copy[1]
    round_about: list[Any] = [1]
    round_about.append(round_about)
    copy = afresh(round_about)
    assert copy[1] is copy is not round_about
