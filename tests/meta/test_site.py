"""The site's text files for language models: every page is in them, and nothing in them is left to be filled in."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import fanmap

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / "docs/hooks.py"
SOURCES = (HOOKS, ROOT / "mkdocs.yml", ROOT / "src")
pytestmark = pytest.mark.skipif(not all(map(Path.exists, SOURCES)), reason="the site is built in the source tree")


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", HOOKS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paths() -> list[str]:
    return sorted(page.relative_to(HOOKS.parent).as_posix() for page in HOOKS.parent.rglob("*.md"))


def test_the_version_is_the_packages(hooks):
    assert fanmap.__version__ == hooks.VERSION


def test_every_page_is_in_the_navigation():
    named = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == paths()


def test_a_page_has_docstrings_and_included_files_in_their_places(hooks):
    for path in paths():
        text = hooks.text_of(path)
        assert text.startswith("# "), path
        assert not re.search(r"^(:::|--8<--|<!-- needs)", text, re.MULTILINE), path
    assert "## `fanmap.parallel_map(" in hooks.text_of("reference/index.md")
    assert "Make a function run over many inputs at once" in hooks.text_of("reference/index.md")
    assert "### `ParallelFunction.as_completed(" in hooks.text_of("reference/index.md")
    assert hooks.text_of("changelog.md").startswith("# Changelog")


def test_the_index_names_each_page_under_its_section(hooks):
    nav = [{"Start": "index.md"}, {"How to": [{"A CSV file": "how-to/csv.md"}]}, {"Changelog": "changelog.md"}]
    pages = list(hooks.pages_of(nav))
    assert pages == [
        ("Docs", "Start", "index.md"), ("How to", "A CSV file", "how-to/csv.md"), ("Docs", "Changelog", "changelog.md"),
    ]  # fmt: skip
    assert hooks.index_of(pages, "What it is.").splitlines() == [
        f"# fanmap {fanmap.__version__}", "", "> What it is.", "",
        "All pages in one file: [llms-full.txt](llms-full.txt)", "",
        "## Docs", "", "- [Start](index.md)", "- [Changelog](changelog.md)", "",
        "## How to", "", "- [A CSV file](how-to/csv.md)",
    ]  # fmt: skip
