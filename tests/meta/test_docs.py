"""Every block of Python in the README and in docs/ runs, as it stands, against the loopback server.

A page makes the names that it uses. The README says in prose what two of its own are: `docs_prelude.py` has these.

A block that must not run is preceded by `<!-- not run: REASON -->`. What needs packages that the tests do not
require says so in `<!-- needs: PACKAGE ... -->`, before the block or, for a whole page, in its first line; it is
left out where one is missing.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not README.exists(), reason="the README is not beside these tests")

PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
MOST_NOT_RUN = 3  # in all pages together
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
PROMISED = re.compile(r"^ *print\(.+\)  # (\['fanmap: .+'\])$", flags=re.MULTILINE)  # the same on any machine
NEEDS = re.compile(r"<!-- needs: (.+?) -->\s*(\Z|#)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[tuple[int, str, str]]:
    """The page's blocks in this language: line, text, and what precedes them."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start()) + 1, found[2], text[: found.start()])
        for found in BLOCK.finditer(text)
        if found[1] == language
    ]


def missing(marker: re.Match[str] | None) -> list[str]:
    return [name for name in marker[1].split() if importlib.util.find_spec(name) is None] if marker else []


def to_run(page: Path) -> list[tuple[int, str]]:
    """The page's blocks of Python that can run here."""
    if missing(NEEDS.match(page.read_text(encoding="utf-8"))):
        return []
    return [
        (line, code)
        for line, code, before in blocks(page, "python")
        if not NOT_RUN.search(before) and not missing(NEEDS.search(before[-200:]))
    ]


def run(pages: list[Path], folder: Path) -> dict[str, int]:
    """Run these pages in a process of their own, which prints what they promise; how many blocks of each ran."""
    folder.mkdir()
    prelude = (HERE / "docs_prelude.py").read_text(encoding="utf-8")
    story = {
        "pages": [[name_of(page), prelude if page == README else "", to_run(page)] for page in pages],
    }
    done = subprocess.run(
        [sys.executable, HERE / "run_blocks.py"],
        input=json.dumps(story), capture_output=True, text=True, timeout=600, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in pages:
        for line in PROMISED.findall("".join(code for _, code in to_run(page))):
            assert line in done.stdout.splitlines(), f"{name_of(page)} promises {line}"
    return {name: int(count) for count, name in re.findall(r"^ran (\d+) blocks of (\S+)", done.stdout, re.MULTILINE)}


@pytest.mark.whole
def test_every_block_of_python_runs(tmp_path: Path) -> None:
    pages = sorted((page for page in PAGES if to_run(page)), key=lambda page: len(to_run(page)))
    # Most of their time they wait, for what a rate allows or a server says: three processes at once.
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda part: run(pages[part::3], tmp_path / str(part)), range(3)))
    ran = {name: count for part in parts for name, count in part.items()}
    assert set(ran) == {name_of(page) for page in pages}
    assert ran["README.md"] >= 8, "the README has more blocks than were run"


@pytest.mark.whole
def test_a_type_checker_is_pleased_with_every_page(tmp_path: Path) -> None:
    """Each page as one module. What runs anyway is not asked: names that later blocks define anew, a bare `await`."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    for page in PAGES:
        names = (HERE / "docs_prelude.py").read_text(encoding="utf-8") if page == README else ""
        code = "\n".join(code for _, code in to_run(page))
        (tmp_path / name_of(page).replace("/", "-")).with_suffix(".py").write_text(names + code, encoding="utf-8")
    leave_out = ("reportRedeclaration", "reportPossiblyUnboundVariable", "reportIncompatibleMethodOverride")
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11"} | dict.fromkeys(leave_out, False)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=tmp_path).stdout)
    assert said["summary"]["filesAnalyzed"] == len(PAGES)
    errors = [f"{Path(one['file']).stem}: {one['message']}" for one in said["generalDiagnostics"] if "rule" in one]
    assert errors == []


def test_no_block_of_python_is_hidden_from_the_run() -> None:
    not_run = 0
    for page in PAGES:
        fences = re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found = blocks(page, "python")
        assert len(fences) == len(found), f"{name_of(page)}: a block that is not found"
        not_run += sum(NOT_RUN.search(before) is not None for _, _, before in found)
    assert not_run <= MOST_NOT_RUN


def test_the_commands_are_single_lines_that_make_their_environment() -> None:
    commands = [block.strip() for _, block, _ in blocks(README, "sh")]
    assert any("fanmap demo" in command for command in commands)
    assert any("pytest" in command for command in commands)
    assert all("\n" not in command and "-m venv" in command for command in commands)
