"""The file of a journal: opened by one run at a time, read once, then only appended to.

What a line says and which line counts is `_policy.journal`'s. Every result is in the file, in one `write`, before
anybody sees it: a process that is killed loses none of them. With `durable` it is on the disk.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
import threading
from contextlib import suppress
from typing import Any

from fanmap._errors import JournalError
from fanmap._policy.journal import Reading, read_line

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_logger = logging.getLogger("fanmap")
_IN_USE = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_BLOCK = 4096
_FAR = 1 << 62


class Journal:
    """One open journal.

    Args:
        path: of the file; it is made where there is none, readable by its owner only.
        durable: wait for the disk with every line.

    Attributes:
        path: of the file.
        skipped: lines that could not be believed.

    Raises:
        JournalError: it cannot be opened, is in use, or is not a journal's.

    Threads: `find` and `append` may be called from any.
    """

    def __init__(self, path: str, *, durable: bool) -> None:
        self.path = path
        self._durable = durable
        self._lock = threading.Lock()
        self._disk = threading.Lock()
        self._closed = False
        self._broken = False
        self._synced = 0
        try:
            self._fd = _open(path)
        except OSError as error:
            raise self._error(_why(error), error) from error
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        try:
            _check_file(self._fd)
            _lock(self._fd)
            reading = self._read()
        except OSError as error:
            raise self._error(_why(error), error) from error
        if reading.foreign:
            raise self._error("holds something else than fanmap's records: give resume= a path of its own")
        self._places, self.skipped = reading.places, reading.skipped
        self._end = reading.end
        try:
            if os.fstat(self._fd).st_size != reading.end:
                _logger.info("%s: the last record was torn, its item runs again", self.path)
                os.ftruncate(self._fd, reading.end)
            if reading.finish:
                self._write(reading.finish)
            if self._durable:
                _to_disk(self._fd)
                _sync_directory(self.path)
        except OSError as error:
            raise self._error(f"cannot be written: {error.strerror}", error) from error

    def _read(self) -> Reading:
        reading = Reading()
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            for line in file:
                reading.add(line)
        return reading

    def __len__(self) -> int:
        """Results in the file."""
        return len(self._places)

    def find(self, key: str) -> Any:
        """What the file says of an item's result: a dict with `value`, or None where it holds none."""
        place = self._places.get(key)
        if place is None:
            return None
        with self._lock:
            line = b"" if self._closed else _read_line(self._fd, place)
        said = read_line(line)
        return said if said is not None and said.get("key") == key else None

    def append(self, line: bytes) -> None:
        """Write one record, all of it or none.

        Raises:
            JournalError: it could not be written. Said once; from now on nothing is written.
        """
        with self._lock:
            if self._broken or self._closed:  # closed: a call that was left behind
                return
            try:
                self._write(line)
            except OSError as error:
                raise self._error(f"cannot be written: {error.strerror}", error) from error
            end = self._end
        if self._durable:
            self._wait_for_disk(end)

    def close(self) -> None:
        """Give the file back; idempotent."""
        with self._disk, self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):  # else it was never opened
            self.close()

    # Inside

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except BaseException:  # Ctrl-C too
            self._broken = True
            if written:
                with suppress(OSError):  # half a line is mended by whoever opens the file next
                    os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise
        self._end += written

    def _wait_for_disk(self, end: int) -> None:
        with self._disk:
            with self._lock:
                if self._broken or self._closed or self._synced >= end:  # another thread's sync took this line along
                    return
                upto = self._end
            try:
                _to_disk(self._fd)
            except OSError as error:
                # After a sync that failed nobody knows what is on the disk: a second one may succeed and lie.
                self._broken = True
                raise self._error(f"cannot be kept on the disk: {error.strerror}", error) from error
            self._synced = upto

    def _error(self, why: str, cause: OSError | None = None) -> JournalError:
        text = f"resume={self.path!r} {why}"
        return JournalError(text) if cause is None or cause.errno is None else JournalError(cause.errno, text)


def _why(error: OSError) -> str:
    if error.filename is None and error.strerror:  # our own words
        return error.strerror
    return f"cannot be opened: {error.strerror or type(error).__name__}"


def _open(path: str) -> int:
    if os.path.islink(path):  # also where the system has no O_NOFOLLOW
        raise OSError(errno.ELOOP, "is a symbolic link: give the path of the file itself")
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o600)


def _check_file(fd: int) -> None:
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")
    if hasattr(os, "geteuid") and about.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "belongs to another user")


def _lock(fd: int) -> None:
    try:
        if sys.platform == "win32":
            os.lseek(fd, _FAR, os.SEEK_SET)  # there a lock keeps others from reading what it covers
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _IN_USE:
            raise OSError(error.errno, "is in use by another run") from error
        _logger.warning("no lock on the journal: %s", error.strerror)  # a file system without locks


def _read_line(fd: int, place: int) -> bytes:
    """The line that begins there, with its newline."""
    found = b""
    while not found.endswith(b"\n"):
        more = _read_at(fd, place + len(found))
        if not more:
            break
        newline = more.find(b"\n")
        found += more if newline < 0 else more[: newline + 1]
    return found


def _read_at(fd: int, place: int) -> bytes:
    if sys.platform == "win32":  # nothing else moves the position: writes append
        os.lseek(fd, place, os.SEEK_SET)
        return os.read(fd, _BLOCK)
    return os.pread(fd, _BLOCK, place)


def _to_disk(fd: int) -> None:
    if sys.platform == "darwin":  # where a sync leaves the data in the drive's own memory
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif sys.platform == "win32":
        os.fsync(fd)
    else:
        os.fdatasync(fd)


def _sync_directory(path: str) -> None:
    """A file that was just made is on the disk when its directory is."""
    if sys.platform != "win32":
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
