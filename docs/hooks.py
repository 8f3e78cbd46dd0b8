"""A mkdocs hook: the version in the site's name, and the pages as text for language models.

`llms.txt` lists the pages, `llms-full.txt` has all of them, and each page's Markdown lies beside its HTML. They are
made from the sources of the site, with the docstrings in the place of the reference's directives.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "src/fanmap/__init__.py").read_text(), re.MULTILINE)[1]  # type: ignore[index]
_DIRECTIVE = re.compile(r"^::: ([\w.]+)\n(?:(?:    .*)?\n)*", re.MULTILINE)
_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_COMMENT = re.compile(r"^<!-- .*? -->\n", re.MULTILINE)


def on_config(config: Any) -> Any:
    """The version stands beside the name."""
    config.site_name = f"{config.site_name} {VERSION}"
    return config


def on_files(files: Any, config: Any) -> Any:
    """The two text files belong to the site: pages may link to them."""
    from mkdocs.structure.files import File  # only where the site is built

    pages = list(pages_of(config.nav))
    whole = "\n\n".join(text_of(path) for _, _, path in pages)
    for name, text in (("llms.txt", index_of(pages, config.site_description)), ("llms-full.txt", whole)):
        files.append(File.generated(config, name, content=text))
    return files


def on_post_build(config: Any) -> None:
    """Write each page's Markdown into the finished site."""
    for _, _, path in pages_of(config.nav):
        place = Path(config.site_dir, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text_of(path), encoding="utf-8")


def pages_of(nav: list[Any], section: str = "Docs") -> Iterator[tuple[str, str, str]]:
    """Section, title and path of each page in the navigation."""
    for entry in nav:
        for title, what in entry.items():
            if isinstance(what, str):
                yield section, title, what
            else:
                yield from pages_of(what, title)


def index_of(pages: list[tuple[str, str, str]], description: str) -> str:
    """`llms.txt`: what the project is, and its pages by section."""
    lines = [f"# fanmap {VERSION}", "", f"> {description}", "", "All pages in one file: [llms-full.txt](llms-full.txt)"]
    before = None
    for section, title, path in sorted(pages, key=lambda page: page[0] != "Docs"):  # a stable sort
        if section != before:
            lines += ["", f"## {section}", ""]
            before = section
        lines.append(f"- [{title}]({path})")
    return "\n".join(lines) + "\n"


def text_of(path: str) -> str:
    """A page's Markdown, with docstrings and included files in their places."""
    text = (DOCS / path).read_text(encoding="utf-8")
    text = _SNIPPET.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8").strip(), text)
    return _DIRECTIVE.sub(lambda found: _described(found[1]) + "\n\n", _COMMENT.sub("", text)).strip() + "\n"


def _described(name: str) -> str:
    """A public name, with its signature, its docstring and its public methods."""
    module, _, attribute = name.rpartition(".")
    what = getattr(import_module(module), attribute)
    said = [_entry("##", name, what)]
    if inspect.isclass(what):
        members = ((one, inspect.getattr_static(what, one)) for one in dir(what) if not one.startswith("_"))
        said += [_entry("###", f"{attribute}.{one}", value) for one, value in members if _is_documented(value)]
    return "\n\n".join(said)


def _is_documented(value: object) -> bool:
    return isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)


def _entry(heading: str, name: str, what: Any) -> str:
    try:
        signature = "" if isinstance(what, property) else str(inspect.signature(getattr(what, "__func__", what)))
    except (TypeError, ValueError):
        signature = ""
    return f"{heading} `{name}{signature}`\n\n{inspect.getdoc(what) or ''}".rstrip()
