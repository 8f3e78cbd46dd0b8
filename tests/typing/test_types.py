"""What mypy and pyright see of the public face: right code pleases both, wrong lines are named by both."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fanmap

pytestmark = pytest.mark.whole
HERE = Path(__file__).parent
EXPECTED = re.compile(r"# error: ([\w-]+), ([\w, ]+)$")

Errors = dict[int, set[str]]  # the line, and what is said of it


def run(checker: str, *arguments: str) -> str:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    # pyright's --verifytypes asks the first python on the path where packages are, whatever --pythonpath says.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=HERE,
        env={**os.environ, "PATH": path},
    )
    return done.stdout


@functools.cache
def mypy() -> dict[str, Errors]:
    found: dict[str, Errors] = {"right.py": {}, "wrong.py": {}}
    # Without the project's settings: users have theirs.
    lines = run(
        "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", os.devnull, "right.py", "wrong.py"
    ).splitlines()
    assert re.match(r"Found|Success", lines[-1]), lines
    for line in lines:
        match = re.match(r"(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", line)
        if match:
            found[match[1]].setdefault(int(match[2]), set()).add(match[3])
    return found


@functools.cache
def pyright() -> dict[str, Errors]:
    found: dict[str, Errors] = {"right.py": {}, "wrong.py": {}}
    said = json.loads(run("pyright", "--outputjson", "right.py", "wrong.py"))  # each file asks for strict by itself
    assert said["summary"]["filesAnalyzed"] == 2
    for one in said["generalDiagnostics"]:
        if one["severity"] == "error":
            line = one["range"]["start"]["line"] + 1
            found[Path(one["file"]).name].setdefault(line, set()).add(one.get("rule", one["message"]))
    return found


def expected(which: int) -> Errors:
    lines = (HERE / "wrong.py").read_text(encoding="utf-8").splitlines()
    matches = {number: EXPECTED.search(line) for number, line in enumerate(lines, 1)}
    return {number: set(match[which].split(", ")) for number, match in matches.items() if match}


def test_mypy_is_pleased_with_right_code() -> None:
    assert mypy()["right.py"] == {}


def test_mypy_names_every_wrong_line() -> None:
    assert mypy()["wrong.py"] == expected(1)


def test_pyright_is_pleased_with_right_code() -> None:
    assert pyright()["right.py"] == {}


def test_pyright_names_every_wrong_line() -> None:
    assert pyright()["wrong.py"] == expected(2)


def test_there_are_wrong_lines() -> None:
    assert len(expected(1)) >= 40  # or a comment is misspelt and nothing is compared


def test_every_public_type_is_known() -> None:
    said = json.loads(run("pyright", "--verifytypes", "fanmap", "--ignoreexternal", "--outputjson"))
    completeness = said["typeCompleteness"]
    assert Path(completeness["packageRootDirectory"]) == Path(fanmap.__file__).parent
    incomplete = [one["name"] for one in completeness["symbols"] if one["isExported"] and not one["isTypeKnown"]]
    assert incomplete == []
    assert completeness["completenessScore"] == 1
