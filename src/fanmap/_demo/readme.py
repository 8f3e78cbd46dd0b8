"""The text to translate: this project's README.

A wheel carries it as its long description, so no copy is packaged. A source tree comes first where there is
one: an editable install's metadata is as old as its installation.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from fanmap._failure import CommandError


def find_readme() -> str:
    """The README of the fanmap that is running.

    Raises:
        CommandError: neither a source tree nor an installed distribution has it.
    """
    tree = Path(__file__).parents[3]  # src/fanmap/_demo/ in a source tree
    if (tree / "pyproject.toml").is_file() and (tree / "src" / "fanmap").is_dir():
        try:
            return (tree / "README.md").read_text(encoding="utf-8")
        except OSError:
            pass
    try:
        description = importlib.metadata.metadata("fanmap")["Description"]
    except (importlib.metadata.PackageNotFoundError, KeyError):
        description = None
    if not description:
        raise CommandError("the README was not found: install fanmap, or run this in its source tree", status=2)
    return description
