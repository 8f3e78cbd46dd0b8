"""What the system does for a journal: open its file, lock it, read, append, wait for the disk, look where it is.

Paths, descriptors and bytes; what they mean is `journal`'s. Every failure is an OSError, whose text is ours where it
has no file name.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_logger = logging.getLogger("fanmap")
IN_USE: Final = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_BLOCK = 4096  # bytes of the first read of a line; each further one reads twice as many
_FAR = 1 << 62
# Seconds after which a fork goes on although somebody is opening a journal, and may inherit it; and after which a file
# is in use although the run that has it is over, and one of its threads is writing still.
_PATIENCE = 10.0

_forking = threading.RLock()  # held by a fork, and while a descriptor is made or closed
_open_files: weakref.WeakSet[OpenFile] = weakref.WeakSet()


@contextmanager
def _no_fork() -> Generator[None]:
    # Bounded, and re-entrant: a finalizer may run in here, in this thread or in one that waits for this one.
    held = _forking.acquire(timeout=_PATIENCE)
    try:
        yield
    finally:
        if held:
            _forking.release()


class OpenFile:
    """The descriptor of a journal: closed when nobody refers to this any more, and in every forked child at once.

    So whoever closes a journal need not wait for a thread that is writing to it; and a child, which inherits the
    descriptor and with it the lock, does not keep the file from the next run for as long as it lives.

    Attributes:
        fd: the descriptor; -1 in a forked child.
        closed: set once it is.
        to_close: nobody needs it any more, but for a thread that is using it just now.
    """

    __slots__ = ("__weakref__", "closed", "fd", "to_close")

    def __init__(self, path: str) -> None:
        self.fd = -1
        self.closed = threading.Event()
        self.to_close = False
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, name, 0)
        with _no_fork():
            self.fd = os.open(path, flags, 0o600)
            _open_files.add(self)

    def __del__(self) -> None:
        with _no_fork(), suppress(OSError):
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)
        self.closed.set()


def _before_fork() -> None:
    if _forking.acquire(timeout=_PATIENCE):
        _held_by.add(threading.get_ident())


def _after_fork() -> None:
    if threading.get_ident() in _held_by:
        _held_by.remove(threading.get_ident())
        _forking.release()


def _in_child() -> None:
    global _forking
    _forking = threading.RLock()
    _held_by.clear()
    for file in list(_open_files):
        fd, file.fd = file.fd, -1
        with suppress(OSError):
            os.close(fd)


_held_by: set[int] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def open_file(path: str) -> OpenFile:
    """Open it to read and append; made, readable by its owner only, where there is none."""
    if os.path.islink(path):  # also where the system has no O_NOFOLLOW
        raise OSError(errno.ELOOP, "is a symbolic link: give the path of the file itself")
    return OpenFile(path)


def check_file(fd: int) -> None:
    """It must be a regular file of this user's."""
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")
    if hasattr(os, "geteuid") and about.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "belongs to another user")


def lock(fd: int) -> None:
    """Keep other runs out, of this process and of others."""
    try:
        _lock(fd)
    except OSError as error:
        if error.errno not in IN_USE:
            raise
        for closed in [file.closed for file in list(_open_files) if file.to_close]:
            closed.wait(_PATIENCE)
        _lock(fd)


def _lock(fd: int) -> None:
    try:
        if sys.platform == "win32":
            os.lseek(fd, _FAR, os.SEEK_SET)  # there a lock keeps others from reading what it covers
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in IN_USE:
            raise OSError(error.errno, "is in use by another run") from error
        _logger.warning("the journal cannot be locked: %s", error.strerror)  # a file system without locks


def reader(fd: int) -> BinaryIO:
    """The whole file, to be read line by line; closing this leaves it open."""
    file = os.fdopen(fd, "rb", 1 << 16, closefd=False)  # not a duplicate, which a forked child would keep
    file.seek(0)
    return file


def read_line_at(fd: int, place: int) -> bytes:
    """The line that begins there, with its newline."""
    found: list[bytes] = []
    block = _BLOCK
    while more := _read_at(fd, place, block):
        newline = more.find(b"\n")
        if newline >= 0:
            found.append(more[: newline + 1])
            break
        found.append(more)
        place += len(more)
        block *= 2
    return b"".join(found)


def _read_at(fd: int, place: int, block: int) -> bytes:
    if sys.platform == "win32":  # writes append, and do not mind where it stands
        with _position:
            os.lseek(fd, place, os.SEEK_SET)
            return os.read(fd, block)
    return os.pread(fd, block, place)


_position = threading.Lock()


def cut(fd: int, size: int) -> bool:
    """Cut off what stands behind so many bytes; was there anything?"""
    if os.fstat(fd).st_size == size:
        return False
    os.ftruncate(fd, size)
    return True


def append(fd: int, line: bytes) -> None:
    """Write all of it, or none: what was half written is cut off again before the error."""
    rest, written = memoryview(line), 0
    try:
        while written < len(line):
            written += os.write(fd, rest[written:])
    except BaseException:  # Ctrl-C too
        if written:
            with suppress(OSError):  # half a line is mended by whoever opens the file next
                os.ftruncate(fd, os.fstat(fd).st_size - written)
        raise


def to_disk(fd: int) -> None:
    """Wait until what was written survives a power failure."""
    if sys.platform == "darwin":  # where a sync leaves the data in the drive's own memory
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif sys.platform == "win32":
        os.fsync(fd)
    else:
        os.fdatasync(fd)


def directory_to_disk(path: str) -> None:
    """A file that was just made is on the disk when its directory is."""
    if sys.platform != "win32":
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def missing(fd: int, path: str, size: int) -> str | None:
    """What has become of the file under its path since it was opened; None: it is there, and has this size or more."""
    try:
        there, ours = os.stat(path, follow_symlinks=False), os.fstat(fd)
    except (FileNotFoundError, NotADirectoryError):
        return "was deleted or moved"
    except OSError:  # nobody knows
        return None
    if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
        return "was replaced by another file"
    return "was cut short" if there.st_size < size else None
