"""Where the rows go: a file that is whole or not there, or a stream.

Rows go to OUTPUT.partial as they come; once every row is in it, it takes OUTPUT's place. A run that is cut short
leaves OUTPUT as it was.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from typing import IO, Protocol

from fanmap._failure import Failure


class Output(Protocol):
    """Where the rows go."""

    def open(self) -> None:
        """Before anything is called; Failure where it cannot be written."""

    def write(self, line: bytes) -> None:
        """One row; Failure where it does not fit."""

    def finish(self) -> None:
        """Every row is written."""

    def leave(self) -> str | None:
        """Cut short: where the rows are that were written; None: nowhere else."""


class Stream:
    """Standard output, or what is no regular file and is ours to close."""

    def __init__(self, file: IO[bytes], name: str | None = None) -> None:
        self._file = file
        self._name = name or "standard output"
        self._ours = name is not None

    def open(self) -> None:
        pass

    def write(self, line: bytes) -> None:
        try:
            self._file.write(line)
            self._file.flush()  # whoever reads it wants to see an answer when it is there
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(f"cannot write to {self._name}: {error.strerror}", status=1) from error

    def finish(self) -> None:
        pass

    def leave(self) -> str | None:
        if self._ours:
            with suppress(OSError):
                self._file.close()
        return None


class File:
    """A file that is whole or not there.

    Args:
        path: as the user gave it.
        kept: answers are kept in a journal, so that what an earlier run left in the partial file may go.
    """

    def __init__(self, path: str, *, kept: bool) -> None:
        self._path = os.path.realpath(path)  # a link stays one
        self._shown = path
        self._partial = self._path + ".partial"
        self._kept = kept
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        try:
            self._file = open(self._partial, "wb" if self._kept else "xb")  # noqa: SIM115
            if os.path.exists(self._path):
                with suppress(OSError):
                    shutil.copymode(self._path, self._partial)
        except FileExistsError as error:
            raise Failure(
                f"{self._partial} is there, with the answers of a run that was cut short: move it or remove it",
                status=2,
            ) from error
        except OSError as error:
            raise Failure(f"{self._shown} cannot be written: {error.strerror}", status=2) from error

    def write(self, line: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def finish(self) -> None:
        assert self._file is not None
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._partial, self._path)
        except OSError as error:
            raise self._failure(error) from error

    def leave(self) -> str | None:
        if self._file is None:
            return None
        with suppress(OSError):
            self._file.close()
        return self._partial

    def _failure(self, error: OSError) -> Failure:
        return Failure(f"{self._shown} cannot be written: {error.strerror}", status=1)


def is_regular(path: str) -> bool:
    """Is this a regular file, or may it become one?

    Raises:
        Failure: it is a directory, or in none.
    """
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path) or not os.path.isdir(folder):
        why = "it is a directory" if os.path.isdir(path) else f"there is no directory {folder}"
        raise Failure(f"{path} cannot be written: {why}", status=2)
    return not os.path.exists(path) or stat.S_ISREG(os.stat(path).st_mode)
