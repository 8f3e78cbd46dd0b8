"""The examples of web apps, in their real frameworks; run where those are installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fanmap

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = ROOT / "examples" / "web"
PAGE = ROOT / "docs" / "how-to" / "django-streamlit.md"
APPS = {"django": ["django", "httpx", "openai"], "flask": ["flask", "openai"], "streamlit": ["streamlit", "openai"]}
SAID = {
    "django": [
        *[f"{server} /{path}: 200, 12 summaries in order"
            for server in ("WSGI", "ASGI")
            for path in ("summaries", "async-summaries", "articles") * 2],
        "in the database: 48 articles with a summary",
        "25 people at once: 24 served, one 503: come again in 1 s",
    ],
    "flask": [
        "/summaries: 200, 12 summaries in order",
        "/tell: [simulated] one two three",
        "half a story: [simulated], calls under way: 1, after its reader has left: 0",
        "25 people at once: 24 served, one 503: come again in 1 s",
    ],
    "streamlit": [
        "the table: 200, 12 summaries in order",
        "the table: 200, 12 summaries in order",
        "the story: [simulated] one two three",
        "stopped by a click: a few calls made, 0 under way",
    ],
}  # fmt: skip


def run(folder: Path, *command: object) -> list[str]:
    """What this program says, which ends well."""
    source = str(Path(fanmap.__file__).parents[1])  # the one that is tested here
    environment = {
        **os.environ,
        "PYTHONPATH": source,
        "DATABASE": str(folder / "articles.sqlite3"),
        "HOME": str(folder),
    }
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", APPS)
def test_an_app_serves_many_users_on_one_account(name: str, tmp_path: Path) -> None:
    for needed in APPS[name]:
        pytest.importorskip(needed)
    said = run(tmp_path, HERE / "web_apps.py", EXAMPLES, name)
    assert said[:-1] == SAID[name]
    most = re.fullmatch(r"calls at once: at most (\d+)", said[-1])
    assert most is not None
    assert int(most[1]) <= 8


@pytest.mark.parametrize("name", APPS)
def test_the_page_shows_what_the_app_says(name: str) -> None:
    if not PAGE.exists():
        pytest.skip("the docs are not beside these tests")
    shown = PAGE.read_text(encoding="utf-8")
    assert f"examples/web/web_{name}.py" in shown
    assert [line for line in SAID[name] if line not in shown] == []


@pytest.mark.whole
def test_under_overload_a_line_with_an_end_answers_as_many_as_the_page_says(tmp_path: Path) -> None:
    answered = re.compile(r"^([\w =]+): +(\d+) of 50 answered", re.MULTILINE)
    found = {name: int(count) for name, count in answered.findall("\n".join(run(tmp_path, EXAMPLES / "overload.py")))}
    assert found["everybody at once"] == 0
    assert min(found["4 requests at a time"], found["max_waiting=32"], found["max_waiting=64"]) >= 25
    page = ROOT / "docs" / "how-to" / "fastapi.md"
    if page.exists():
        said = {name: int(count) for name, count in answered.findall(page.read_text(encoding="utf-8"))}
        assert said.keys() == found.keys()
        assert all(abs(said[name] - found[name]) <= 2 for name in found)


def test_the_load_test_of_the_fastapi_app_serves_people_beside_its_batch(tmp_path: Path) -> None:
    for needed in ("fastapi", "uvicorn", "httpx", "openai", "starlette"):
        pytest.importorskip(needed)
    lines = run(tmp_path, EXAMPLES / "web_fastapi_load.py", "--scale", "0.1")
    assert [line.split(":")[0] for line in lines] == [
        "first word, nobody else",
        "first word, a batch beside it",
        "60 people at once",
        "the batch",
    ]
    assert lines[-1] == "the batch: 150 summaries"
    assert "told to come again in" in lines[2]
