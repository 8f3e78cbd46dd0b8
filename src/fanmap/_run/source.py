"""Where the lines come from: a file, which is read twice, or a pipe, which another thread waits for.

While the pipe has nothing to say, answers that are there still leave and Ctrl-C is still heard.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import TypeVar

from fanmap._failure import Failure

T = TypeVar("T")

_CHUNK = 1 << 16
_AHEAD = 64  # rows that a pipe is read ahead of the run


class Source:
    """INPUT, opened.

    Attributes:
        name: for messages.
        path: of a regular file, which can be read again; None: it is a pipe, or a terminal.

    Raises:
        Failure: it cannot be read.
    """

    def __init__(self, given: str) -> None:
        self.name = "standard input" if given == "-" else given
        self.path: str | None = None
        self._fd: int | None = None
        try:
            if given == "-":
                self._fd = sys.stdin.fileno()
            elif stat.S_ISREG(os.stat(given).st_mode):
                self.path = given
                os.close(os.open(given, os.O_RDONLY))
            elif os.path.isdir(given):
                raise Failure(f"{given} is a directory: give a file, or - for standard input", status=2)
            else:  # a named pipe, or the shell's <(command)
                self._fd = os.open(given, os.O_RDONLY)
        except (OSError, ValueError, AttributeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise Failure(f"{self.name} cannot be read: {why}", status=2) from error

    def lines(self) -> Iterator[bytes]:
        """Its lines, with their newline. Of a file from the beginning, every time."""
        if self.path is None:
            assert self._fd is not None
            return _lines_of(self._fd, self.name)
        return self._file_lines(self.path)

    def _file_lines(self, path: str) -> Iterator[bytes]:
        try:
            with open(path, "rb") as file:
                yield from file
        except OSError as error:
            raise Failure(f"{path} cannot be read: {error.strerror}", status=2) from error


def _lines_of(fd: int, name: str) -> Iterator[bytes]:
    """A pipe's lines. Not `sys.stdin.buffer`: the interpreter cannot end while a thread waits in that."""
    rest: list[bytes] = []
    while True:
        try:
            chunk = os.read(fd, _CHUNK)
        except OSError as error:
            raise Failure(f"{name} cannot be read: {error.strerror}", status=2) from error
        *whole, last = chunk.split(b"\n")
        for part in whole:
            yield b"".join((*rest, part, b"\n"))
            rest.clear()
        if last:
            rest.append(last)
        if not chunk:
            if rest:
                yield b"".join(rest)
            return


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
