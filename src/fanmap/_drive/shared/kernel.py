"""System calls on an open file that keep the interpreter's lock.

Python lets go of its lock (the GIL) around each system call, and a busy process then waits for it: up to 5 ms for each
thread that computes, a dozen times an exchange. All of that with a lock in hand that every other process waits for.
These calls take a microsecond and never block, so they are made as C makes them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import Final

_libc = ctypes.PyDLL(None, use_errno=True)
_OFFSET = ctypes.c_longlong if ctypes.sizeof(ctypes.c_void_p) == 8 else ctypes.c_long
_flock = _libc.flock
_flock.argtypes = (ctypes.c_int, ctypes.c_int)
_lseek = _libc.lseek
_lseek.argtypes, _lseek.restype = (ctypes.c_int, _OFFSET, ctypes.c_int), _OFFSET
_pread = _libc.pread
_pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, _OFFSET)
_pread.restype = ctypes.c_ssize_t
_pwrite = _libc.pwrite
_pwrite.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, _OFFSET)
_pwrite.restype = ctypes.c_ssize_t

# Locks that belong to an open file and not to a process: a fork has none, and the kernel drops them when a process
# dies, seen from every container. Linux has them; elsewhere nobody's death is seen.
SEES_DEATH: Final = hasattr(fcntl, "F_OFD_SETLK")
_LOCK: Final = "hhqqii"  # struct flock: type, whence, start, length, pid


def try_lock(file: int) -> bool:
    """Lock the whole file, if nobody has it."""
    if _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EWOULDBLOCK, errno.EINTR):
        return False
    raise OSError(code, os.strerror(code))


def unlock(file: int) -> None:
    """Let go of it."""
    _flock(file, fcntl.LOCK_UN)


def size(file: int) -> int:
    """Bytes of the file."""
    return int(_lseek(file, 0, os.SEEK_END))


def read(file: int, length: int, offset: int) -> bytes:
    """So many bytes; fewer at the file's end."""
    buffer = ctypes.create_string_buffer(length)
    got = _pread(file, buffer, length, offset)
    if got < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return ctypes.string_at(buffer, got)


def write(file: int, data: bytes, offset: int) -> None:
    """All of these bytes."""
    wrote = _pwrite(file, data, len(data), offset)
    if wrote != len(data):
        code = ctypes.get_errno() if wrote < 0 else errno.ENOSPC
        raise OSError(code, os.strerror(code))


def claim(file: int, offset: int) -> None:
    """Hold the byte at this place of the file (which need not reach so far) for as long as the file is open here."""
    if SEES_DEATH:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0, 0))


def is_claimed(file: int, offset: int) -> bool:
    """Does somebody else hold that byte?"""
    if not SEES_DEATH:
        return True
    asked = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0, 0)
    found: int = struct.unpack(_LOCK, fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0]
    return found != fcntl.F_UNLCK
