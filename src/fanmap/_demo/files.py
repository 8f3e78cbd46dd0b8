"""The languages, and the translations as files.

A file that this demo did not write is never overwritten, and a simulated translation never replaces a real
one: each file says in its first line what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fanmap._failure import CommandError

LANGUAGES = ("Chinese", "Spanish", "Japanese", "German", "Russian", "Portuguese", "French", "Korean")

_MARK = "<!-- fanmap demo: "
_SIMULATED = _MARK + "SIMULATED, not a translation -->"


class Folder:
    """The folder that the translations go to; made, and looked through, before anything is asked.

    Raises:
        CommandError: it cannot be made or read, or something in it would be lost.
    """

    def __init__(self, path: str, *, simulated: bool) -> None:
        self.path = Path(path)
        self._simulated = simulated
        replaceable = _SIMULATED if simulated else _MARK
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for language in LANGUAGES:
                file = self._file(language)
                if file.exists() and not file.read_text(encoding="utf-8", errors="replace").startswith(replaceable):
                    what = "simulated translation" if simulated else "translation by this demo"
                    raise CommandError(
                        f"{file} is not a {what}, so it is not overwritten: choose another --output", status=2
                    )
        except OSError as error:
            raise self._failure(error) from error

    def save(self, translations: Mapping[str, str]) -> None:
        """Write one file a language.

        Raises:
            CommandError: the disk does not take it.
        """
        mark = _SIMULATED if self._simulated else f"{_MARK}translated by a model -->"
        try:
            for language, text in translations.items():
                self._file(language).write_text(f"{mark}\n\n{text}\n", encoding="utf-8")
        except OSError as error:
            raise self._failure(error) from error

    def _file(self, language: str) -> Path:
        return self.path / f"README_{language.upper()}.md"

    def _failure(self, error: OSError) -> CommandError:
        return CommandError(f"cannot write to {self.path}: {error.strerror or type(error).__name__}", status=2)
