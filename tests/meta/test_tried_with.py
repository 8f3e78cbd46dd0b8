"""The table of what fanmap was tried with names the tests that try it and the versions that CI installs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "tried-with.md"
PINS = [path for name in ("lint", "clients", "frameworks", "reading") for path in (ROOT / ".ci").glob(f"{name}-*.txt")]
ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def rows() -> list[tuple[str, ...]]:
    if not PAGE.exists():
        pytest.skip("the docs are not beside these tests")
    return [row for row in ROW.findall(PAGE.read_text(encoding="utf-8")) if row[0] != "client or framework"]


def test_every_test_file_of_the_table_is_there() -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = {name for row in rows() for name in row[3].split(", ")}
    assert len(named) >= 5
    assert named <= there


def test_versions_of_the_table_are_those_that_ci_installs() -> None:
    if not PINS:
        pytest.skip("the pins are not beside these tests")
    wrong: list[str] = []
    for path in PINS:
        for package, version in re.findall(r"^([\w-]+)==(\S+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            row = next((row for row in rows() if re.search(rf"\b{package}\b", " ".join(row[:2]), re.IGNORECASE)), None)
            if row is not None and version not in row[1]:
                wrong.append(f"{path.name}: {package} {version} is not in the table")
    assert wrong == []
