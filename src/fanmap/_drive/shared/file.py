"""Shared limits in a file of this machine, without any server.

The document is kept twice, each with a count and a checksum; the newer one that is whole counts, so that a process may
be killed in the middle of writing. Whoever exchanges has the whole file locked for some tenths of a millisecond, and
makes no call in that time that lets go of the interpreter's lock (`kernel`). Each process also holds one byte beyond
the file's end: when it dies, the kernel lets go of it. Wakes are empty datagrams to a port of this machine.

A file that is deleted, replaced or cut short under us is a store that has lost its memory, and so is an older copy.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from fanmap._drive import clock
from fanmap._drive.shared import copies, kernel
from fanmap._drive.shared.chance import chance
from fanmap._drive.shared.folder import open_file
from fanmap._drive.shared.store import StoreAway
from fanmap._policy.shared.document import Document
from fanmap._policy.shared.joining import born, has_gone_back
from fanmap._policy.shared.ledger import exchange
from fanmap._policy.shared.messages import Reply, Request
from fanmap._policy.shared.overview import Overview, overview
from fanmap._policy.shared.totals import anew

_MAGIC: Final = b"fanmap shared 1\n"
_HEAD: Final = struct.Struct("<16sQI36x")  # magic, whose clock it is, pid of who locked it last
_CLAIMS: Final = 1 << 50  # where in the file the bytes are that living processes hold
_OWN: Final = b"."  # what a thread of this process sends it
_PATIENCE: Final = 1.0  # seconds to wait for the file's lock
# What waiting does not mend; None: we say what does.
_NEVER: Final = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR)


class FileStore:
    """One process's way to the file of a name.

    Args:
        path: of the file, made if need be.
        number: of this process, random.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.where = str(path)
        self._path = path
        self._number = number
        self._file = -1
        self._has_worked = False
        self._is_ours = False  # the clock in the file is that of this machine
        self._last = copies.Written()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.wake: int = self._socket.getsockname()[1]

    def exchange(self, request: Request) -> Reply:
        """Exchange a request for a reply; see `Store`."""
        try:
            reply = self._exchange(request)
            if self._is_gone():  # it went into a file that nobody else will open any more
                self._let_go()
                reply = self._exchange(request)
        except (OSError, ValueError) as error:
            self._let_go()
            if self._has_worked or (isinstance(error, OSError) and error.errno not in _NEVER):
                raise StoreAway(str(error)) from error
            raise
        self._has_worked = True
        for port in reply.wake:
            self._send(port)
        return reply

    def look(self) -> Overview | None:
        """How things are; see `Store`."""
        try:
            document = self._read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # a folder, a link, another version's
            raise StoreAway(str(error)) from error
        return None if document is None else overview(document, clock.since_boot())

    def wait(self, seconds: float) -> bool:
        """See `Store`."""
        ready, _, _ = select.select([self._socket], [], [], max(0.0, seconds))
        woken = False
        while ready:
            try:
                woken = self._socket.recv(16) != _OWN or woken
            except OSError:
                break
        return woken

    def poke(self) -> None:
        """See `Store`."""
        self._send(self.wake, _OWN)

    def reset(self) -> None:
        """Who has it open begins another with what it knows of its own; of totals nothing is spent."""
        if not self._path.exists():
            return
        file = self._open()
        self._lock(file)
        try:
            if kernel.size(file) and kernel.read(file, len(_MAGIC), 0) != _MAGIC:
                raise ValueError(f"{self._path} is not a file of shared limits: it is left as it is")
            try:
                document, last = copies.newest(file, copies.Written())
            except ValueError:  # another version's
                document, last = None, 0
            if document is None:
                self._path.unlink(missing_ok=True)
            else:
                fresh = anew(born(chance.getrandbits(48), clock.since_boot()), document)
                copies.write(file, last + 1, fresh)
        finally:
            kernel.unlock(file)

    def close(self) -> None:
        """See `Store`. Nothing is unlocked: a child that closes what it has from its parent would unlock for both."""
        self._let_go()
        self._socket.close()

    # Inside

    def _read(self) -> Document | None:
        """The document with those members that live; it takes no lock, and makes no file."""
        file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if kernel.read(file, len(_MAGIC), 0) != _MAGIC:
                return None
            document = copies.newest(file, copies.Written())[0]
            if document is not None:
                document.members = [one for one in document.members if kernel.is_claimed(file, _CLAIMS + one.id)]
        finally:
            os.close(file)
        return document

    def _exchange(self, request: Request) -> Reply:
        file = self._open()
        dead = self._dead()
        self._lock(file)
        try:
            self._check(file)
            document, last = copies.newest(file, self._last)
            now = clock.since_boot()
            if document is None or has_gone_back(document, request):
                document = born(request.fresh, now)
            self._last = copies.Written()  # until it is written
            reply = exchange(document, request, now, dead)
            self._last = copies.write(file, last + 1, document)
        finally:
            kernel.unlock(file)
        return reply

    def _open(self) -> int:
        if self._file < 0:
            file = open_file(self._path)
            try:
                kernel.claim(file, _CLAIMS + self._number)
            except BaseException:
                os.close(file)
                raise
            self._file = file
        return self._file

    def _let_go(self) -> None:
        file, self._file = self._file, -1
        self._last = copies.Written()
        if file >= 0:
            os.close(file)

    def _dead(self) -> list[int]:
        """Who was there when it was read last and is not any more. Read without the lock: a copy is whole or none."""
        document = self._last.document or copies.newest(self._file, self._last)[0]
        if document is None:
            return []
        return [
            member.id
            for member in document.members
            if member.id != self._number and not kernel.is_claimed(self._file, _CLAIMS + member.id)
        ]

    def _lock(self, file: int) -> None:
        if kernel.try_lock(file):
            return
        began = clock.now()
        while not kernel.try_lock(file):
            waited = clock.now() - began
            if waited > _PATIENCE:
                holder = _HEAD.unpack(kernel.read(file, _HEAD.size, 0).ljust(_HEAD.size, b"\0"))[2]
                raise StoreAway(f"process {holder} has had {self._path} locked for {waited:.1f} s: is it stopped?")
            clock.pause(chance.uniform(0.0001, 0.001))

    def _is_gone(self) -> bool:
        try:
            found = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return True
        mine = os.fstat(self._file)
        return (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino)

    def _check(self, file: int) -> None:
        """Make the file anew where it is empty or was cut short; refuse what is something else or another machine's."""
        head = kernel.read(file, _HEAD.size, 0)
        _, machine, _ = _HEAD.unpack(head.ljust(_HEAD.size, b"\0"))
        if not _MAGIC.startswith(head[: len(_MAGIC)]):
            raise ValueError(f"{self._path} is not a file of shared limits: it is left as it is")
        if kernel.size(file) < copies.SIZE:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, copies.SIZE)  # a disk that is full later on does not matter
            else:
                os.ftruncate(file, copies.SIZE)
            copies.erase(file)
            machine = 0
        ours = _machine()
        if machine and machine != ours and (self._is_ours or self._somebody_lives(file)):
            # By turns, or at the same time: neither the locks nor the clocks are the same.
            raise OSError(f"{self._path} is in use by another machine: write shared='redis://HOST:6379/0#NAME' instead")
        self._is_ours = True
        kernel.write(file, _HEAD.pack(_MAGIC, ours, os.getpid()), 0)

    def _somebody_lives(self, file: int) -> bool:
        document = copies.newest(file, copies.Written())[0]
        return document is not None and any(
            kernel.is_claimed(file, _CLAIMS + member.id) for member in document.members if member.id != self._number
        )

    def _send(self, port: int, word: bytes = b"") -> None:
        try:
            self._socket.sendto(word, ("127.0.0.1", port))
        except OSError:
            pass  # a wake is a hint


@cache
def _machine() -> int:
    """A number for what has one clock and one set of locks: one boot of one kernel, and its clocks' namespace."""
    said = ""
    try:
        said += Path("/proc/sys/kernel/random/boot_id").read_text()
        said += os.readlink("/proc/self/ns/time")
    except OSError:
        pass
    return 1 + int.from_bytes(blake2b(said.encode(), digest_size=7).digest())
