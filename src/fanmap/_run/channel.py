"""Objects over a socket between two processes of ours, each after its length."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
import threading
from typing import Any

_LENGTH = struct.Struct("<I")


def packed(thing: object) -> bytes:
    """An object as it is sent: its length, then its pickle."""
    data = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next object; EOFError where there is none any more."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError from None


class Channel:
    """The blocking end of one; `send` from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._file = self._socket.makefile("rb")
        self._lock = threading.Lock()

    def send(self, thing: object) -> None:
        """Send an object; one that nobody takes any more is lost."""
        data = packed(thing)
        with self._lock:
            try:
                self._socket.sendall(data)
            except OSError:
                pass

    def receive(self) -> Any:
        """The next object; EOFError where there is none any more."""
        try:
            head = self._file.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                raise EOFError
            (length,) = _LENGTH.unpack(head)
            data = self._file.read(length)
        except OSError:
            raise EOFError from None
        if len(data) < length:
            raise EOFError
        return pickle.loads(data)
