"""Every block of Python in the README runs, as it stands, against the loopback server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
PRELUDE = Path(__file__).parent / "readme_prelude.py"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the README is not beside these tests")

RUN_EACH = """
import json, sys, warnings
warnings.simplefilter("error")
prelude, *blocks = json.load(sys.stdin)
for number, block in enumerate(blocks):
    names = {"__name__": "readme"}
    exec(compile(prelude, "<prelude>", "exec"), names)
    try:
        exec(compile(block, f"<README block {number}>", "exec"), names)
    except BaseException:
        print(f"in block {number}:\\n{block}", file=sys.stderr)
        raise
    print("ran", number)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_every_block_of_python_runs(tmp_path: Path) -> None:
    # One process for all of them, because importing the clients takes longer than every block together.
    python = blocks("python")
    story = json.dumps([PRELUDE.read_text(encoding="utf-8"), *python])
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH], input=story, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ran ") == len(python) >= 10


def test_the_commands_are_single_lines_that_make_their_environment() -> None:
    commands = [block.strip() for block in blocks("sh")]
    assert any("fanmap demo" in command for command in commands)
    assert any("pytest" in command for command in commands)
    assert all("\n" not in command and "-m venv" in command for command in commands)
