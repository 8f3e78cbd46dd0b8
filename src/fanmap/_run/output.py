"""Where the rows go: a stream, or a file that is whole or not there.

Rows go to OUTPUT.partial as they come; once every row is in it, it takes OUTPUT's place. A run that is cut short
leaves OUTPUT as it was.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from fanmap._drive.journals.journal_file import IN_USE
from fanmap._failure import CommandError
from fanmap._run.streams import FOREIGN, Stream, descriptor_of, duplicate, write_all

STDOUT = "standard output"


class Output(Protocol):
    """Where the rows go."""

    def open(self, while_blocked: Callable[[], None]) -> None:
        """Before anything is called; CommandError where it cannot be written.

        Args:
            while_blocked: called again and again while nobody takes what is written.
        """

    def write(self, line: bytes) -> None:
        """One row; CommandError where it does not fit, BrokenPipeError where nobody reads it any more."""

    def finish(self) -> None:
        """Every row is written."""

    def leave(self) -> str | None:
        """It is over: where the rows are that were written, of a file that was cut short; None: nowhere else."""


def is_standard_output(path: str | None) -> bool:
    """Is it standard output, by whatever name?"""
    return path is None or path == "-" or descriptor_of(path) == 1


def is_file(path: str | None) -> bool:
    """Is it a regular file, or may it become one?

    Raises:
        CommandError: it is a directory, or in none, or something that rows would destroy.
    """
    if path is None or path == "-" or descriptor_of(path) is not None:
        return False
    if not path:  # a variable of the shell that is not set
        raise CommandError("-o must be a path, or - for standard output, got ''", status=2)
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    why = None
    if os.path.isdir(real):
        why = "it is a directory"
    elif not os.path.isdir(folder):
        why = f"there is no directory {folder}"
    elif os.path.islink(real):
        why = "it is a symbolic link to itself"
    elif os.path.exists(real) and not os.access(real, os.W_OK):
        why = os.strerror(errno.EACCES)
    elif os.path.exists(real) and stat.S_ISBLK(os.stat(real).st_mode):
        why = "it is a block device"
    if why is not None:
        raise CommandError(f"{path} cannot be written: {why}", status=2)
    return not os.path.exists(real) or stat.S_ISREG(os.stat(real).st_mode)


def waits_for_reader(path: str | None) -> bool:
    """Is it a named pipe, which can be opened only when somebody reads it?"""
    return path is not None and path != "-" and descriptor_of(path) is None and stat.S_ISFIFO(os.stat(path).st_mode)


def open_stream(path: str | None) -> Stream:
    """Open what is no file; of a named pipe this waits for a reader.

    Raises:
        CommandError: it cannot be written.
    """
    if is_standard_output(path):
        return _standard_output()
    assert path is not None
    fd = descriptor_of(path)
    if fd is not None and fd != FOREIGN:
        return Stream(duplicate(fd, path), path)
    try:
        # Appending: behind another process's descriptor there may be a file.
        return Stream(os.open(path, os.O_WRONLY | os.O_APPEND), path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}", status=2) from error


def _standard_output() -> Stream:
    file = sys.stdout
    if file is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise CommandError(f"{STDOUT} is closed: give -o FILE", status=2)
    try:
        file.flush()
        return Stream(duplicate(file.fileno(), STDOUT), STDOUT)
    except (OSError, ValueError):  # somebody has put another object in its place
        buffer = file.buffer

        def write(line: bytes) -> None:
            buffer.write(line)
            buffer.flush()

        return Stream(None, STDOUT, write)


class File:
    """A file that is whole or not there.

    Args:
        path: as the user gave it.
        ours: a partial file that is there is of an earlier run, whose answers are kept elsewhere.
    """

    def __init__(self, path: str, *, ours: bool) -> None:
        self._path = os.path.realpath(path)  # a link stays one
        self._shown = path
        self._partial = partial_of(path)
        self._ours = ours
        self._fd: int | None = None
        self._left: str | None = None

    def check(self) -> bool:
        """Is a partial file there that makes room? CommandError where it does not. For before a run begins, too."""
        try:
            there = os.lstat(self._partial)
        except OSError:
            return False
        if not stat.S_ISREG(there.st_mode):
            why = "and is not a regular file"
        elif self._in_use():
            raise CommandError(f"{self._partial} is in use by another run", status=2)
        elif not self._ours and there.st_size:
            why = "perhaps from a run that was interrupted"
        else:
            return True
        raise CommandError(f"{self._partial} already exists, {why}: move it or remove it", status=2)

    def open(self, while_blocked: Callable[[], None]) -> None:
        del while_blocked
        try:
            if self.check():
                os.unlink(self._partial)
            # A new file in any case: what has that name may be a link to something else.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            mode = stat.S_IMODE(os.stat(self._path).st_mode) if os.path.exists(self._path) else 0o666
            self._fd, self._left = os.open(self._partial, flags, mode), self._partial
            _open_files.add(self)
            _lock(self._fd)
            if os.path.exists(self._path):
                with suppress(OSError):
                    shutil.copymode(self._path, self._partial)
        except OSError as error:
            raise CommandError(f"{self._shown} cannot be written: {error.strerror}", status=2) from error

    def write(self, line: bytes) -> None:
        assert self._fd is not None
        try:
            write_all(self._fd, line)
        except OSError as error:
            raise self._failure(error) from error

    def finish(self) -> None:
        assert self._fd is not None
        try:
            os.fsync(self._fd)
            if not _is_there(self._fd, self._partial):  # another file may have its name, and is not ours to give away
                self._left = None
                raise CommandError(f"{self._partial} was moved or replaced while it was written", status=1)
            fd, self._fd = self._fd, None
            os.close(fd)
            os.replace(self._partial, self._path)
            self._left = None
        except OSError as error:
            raise self._failure(error) from error

    def leave(self) -> str | None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with suppress(OSError):
                os.close(fd)
        return self._left

    def forget(self) -> None:
        """In a forked child, which would keep the file locked for as long as it lives."""
        self.leave()

    def _in_use(self) -> bool:
        try:
            fd = os.open(self._partial, os.O_RDWR)  # over a network, only such a one can be locked
        except OSError:
            return False
        try:
            return not _lock(fd)
        finally:
            os.close(fd)

    def _failure(self, error: OSError) -> CommandError:
        return CommandError(f"{self._shown} cannot be written: {error.strerror}", status=1)


_open_files: weakref.WeakSet[File] = weakref.WeakSet()


def _in_child() -> None:
    for file in list(_open_files):
        file.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _lock(fd: int) -> bool:
    """Keep other runs from a file for as long as it is open; False: one of them has it."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in IN_USE  # else it is a file system without locks
    return True


def _is_there(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def partial_of(path: str) -> str:
    """Where the rows of a file are until it is whole."""
    return os.path.realpath(path) + ".partial"
