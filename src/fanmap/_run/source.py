"""Where the lines come from: a file, which is read twice, or a pipe, which another thread waits for.

While the pipe has nothing to say, answers that are there still leave and Ctrl-C is still heard.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import TypeVar

from fanmap._failure import CommandError
from fanmap._run.streams import FOREIGN, descriptor_of, duplicate

T = TypeVar("T")

_CHUNK = 1 << 16
_LONGEST = 1 << 30  # bytes of a line: what is longer is no text
_AHEAD = 64  # rows that a pipe is read ahead of the run


class Source:
    """INPUT, opened.

    Attributes:
        name: for messages.
        path: of a regular file, which can be read again; None: it is a pipe, a terminal, or a descriptor of the
            shell's, which stands where it stands.

    Raises:
        CommandError: it cannot be read.
    """

    def __init__(self, given: str) -> None:
        self.name = "standard input" if given == "-" else given
        self.path: str | None = None
        self._fd: int | None = None
        fd = 0 if given == "-" else descriptor_of(given)
        if fd == 0 and sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise CommandError(f"{self.name} is closed: give a file", status=2)
        if fd is not None and fd != FOREIGN:
            self._fd = duplicate(fd, self.name, to="read")
            if stat.S_ISDIR(os.fstat(self._fd).st_mode):
                raise CommandError(f"{self.name} is a directory: give a file", status=2)
            return
        try:
            if os.path.isdir(given):
                raise CommandError(f"{given} is a directory: give a file, or - for standard input", status=2)
            self._fd = os.open(given, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            if fd is None and stat.S_ISREG(os.fstat(self._fd).st_mode):
                self.path = given
                os.close(self._fd)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise CommandError(f"{self.name} cannot be read: {why}", status=2) from error

    def identity(self) -> tuple[int, int] | None:
        """Which regular file it is; None: it is none."""
        about = os.stat(self.path) if self.path is not None else os.fstat(self._fd or 0)
        return (about.st_dev, about.st_ino) if stat.S_ISREG(about.st_mode) else None

    def lines(self) -> Iterator[bytes]:
        """Its lines, with their newline. Of a file from the beginning, every time."""
        if self.path is None:
            assert self._fd is not None
            return _lines_of(self._fd, self.name)
        return self._file_lines(self.path)

    def _file_lines(self, path: str) -> Iterator[bytes]:
        try:
            with open(path, "rb") as file:
                while line := file.readline(_LONGEST + 1):
                    if len(line) > _LONGEST:
                        raise _too_long(path)
                    yield line
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}", status=2) from error


def _lines_of(fd: int, name: str) -> Iterator[bytes]:
    """A pipe's lines. Not `sys.stdin.buffer`: the interpreter cannot end while a thread waits in that."""
    rest: list[bytes] = []
    size = 0
    while True:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:  # whoever opened it has set it not to wait
            select.select([fd], [], [])
            continue
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror}", status=2) from error
        *whole, last = chunk.split(b"\n")
        for part in whole:
            yield b"".join((*rest, part, b"\n"))
            rest.clear()
            size = 0
        if last:
            rest.append(last)
            size += len(last)
            if size > _LONGEST:
                raise _too_long(name)
        if not chunk:
            if rest:
                yield b"".join(rest)
            return


def _too_long(name: str) -> CommandError:
    return CommandError(f"{name} cannot be read: a line of more than 1 GiB", status=2)


async def from_thread(items: Iterator[T]) -> AsyncIterator[T]:
    """Step an iterator in a thread of its own, which nobody waits for at the end."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def put(one: tuple[T] | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the run is over
            loop.call_soon_threadsafe(arrived.put_nowait, one)

    def step() -> None:
        try:
            for item in items:
                put((item,))
                room.acquire()
        except BaseException as error:
            put(error)
        else:
            put(None)

    threading.Thread(target=step, name="fanmap-input", daemon=True).start()
    while True:
        one = await arrived.get()
        if one is None:
            return
        if isinstance(one, BaseException):
            raise one
        room.release()
        yield one[0]
