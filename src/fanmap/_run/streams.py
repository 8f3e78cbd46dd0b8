"""Outputs that rows are only appended to: standard output, other descriptors, pipes, devices.

Which path is one: `/dev/stdout`, `/dev/fd/3` and `/proc/self/fd/3` name a descriptor, whatever file is behind it. To
open, truncate or replace that file would destroy what whoever opened it had written before.
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fanmap._failure import CommandError

_LINKS: Final = 40  # that are followed, as the system does
_PROCESS: Final = re.compile(r"/proc/\d+(/task/\d+)?/fd")
_OWN: Final = ("/dev/fd",)  # where it is no link into /proc
FOREIGN: Final = -1
_HIGHEST: Final = 2**31 - 1
_PIECE: Final = 4096  # bytes that a pipe takes without waiting, once it says that it takes any (PIPE_BUF)
_LOOK: Final = 100  # milliseconds between looks while nobody reads


def occupy_standard_descriptors() -> None:
    """Open those of 0, 1 and 2 that are closed: else the next file to be opened would be standard output to others."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def descriptor_of(path: str) -> int | None:
    """The descriptor that a path names, perhaps through links; None: it names none; FOREIGN: another process's."""
    for _ in range(_LINKS):
        folder, name = os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path)
        if name.isdecimal() and folder in _OWN:
            return int(name)
        if name.isdecimal() and _PROCESS.fullmatch(folder):
            own = os.path.realpath("/proc/self") + "/"
            return int(name) if folder.startswith(own) else FOREIGN
        try:
            path = os.path.join(folder, os.readlink(os.path.join(folder, name)))
        except OSError:
            return None
    return None


def duplicate(fd: int, name: str, *, to: str = "written") -> int:
    """A descriptor of ours for the same open file.

    Raises:
        CommandError: it is not open, or open for the other direction.
    """
    try:
        if fd > _HIGHEST:  # more than the system's own call can be asked for
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        copy = os.dup(fd)
        if sys.platform != "win32":
            import fcntl

            mode = fcntl.fcntl(copy, fcntl.F_GETFL) & os.O_ACCMODE
            if mode == (os.O_RDONLY if to == "written" else os.O_WRONLY):
                os.close(copy)
                raise OSError(errno.EBADF, f"it is not open to be {to}")
    except OSError as error:
        raise CommandError(f"{name} cannot be {to}: {error.strerror}", status=2) from error
    return copy


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, to a file."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Stream:
    """Standard output, or whatever else is no regular file.

    Args:
        fd: open to be written; closed in the end. None: `write` is all there is.
        name: for messages.
        write: instead of writing to a descriptor.

    Attributes:
        name: as above.
    """

    def __init__(self, fd: int | None, name: str, write: Callable[[bytes], object] | None = None) -> None:
        self._fd = fd
        self.name = name
        self._write = write
        self._while_blocked: Callable[[], None] = _nothing

    def identity(self) -> tuple[int, int] | None:
        """Which regular file it is; None: it is none."""
        about = None if self._fd is None else os.fstat(self._fd)
        return (about.st_dev, about.st_ino) if about is not None and stat.S_ISREG(about.st_mode) else None

    def is_open_as(self, fd: int) -> bool:
        """Is what it writes to what this descriptor writes to, too (`3>&1`)?"""
        try:
            return self._fd is not None and os.path.samestat(os.fstat(self._fd), os.fstat(fd))
        except OSError:
            return False

    def open(self, while_blocked: Callable[[], None]) -> None:
        self._while_blocked = while_blocked

    def write(self, line: bytes) -> None:
        try:
            if self._fd is None:
                assert self._write is not None
                self._write(line)
            elif stat.S_ISREG(os.fstat(self._fd).st_mode) or not hasattr(select, "poll"):
                write_all(self._fd, line)
            else:
                self._write_in_pieces(self._fd, line)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{self.name} cannot be written: {error.strerror}", status=1) from error

    def finish(self) -> None:
        pass

    def leave(self) -> str | None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with suppress(OSError):
                os.close(fd)
        return None

    def _write_in_pieces(self, fd: int, line: bytes) -> None:
        """As a pipe takes them, so that a signal is heard while nobody reads it."""
        writable = select.poll()
        writable.register(fd, select.POLLOUT)
        view = memoryview(line)
        while view:
            if not writable.poll(_LOOK):
                self._while_blocked()
                continue
            with suppress(BlockingIOError):  # it is set not to wait, and another process was faster
                view = view[os.write(fd, view[:_PIECE]) :]


def _nothing() -> None:
    pass
