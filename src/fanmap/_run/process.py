"""One worker process of `fanmap run --processes`, as the command has it: its calls, and where it stood last."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

from fanmap._run.channel import packed, receive
from fanmap._run.remote import Done, Orders
from fanmap._usage import NO_USAGE

_CODE: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop())  # before fanmap is imported: it may be there, as in a zipapp
from fanmap._run.worker import main
main()
"""


class Worker:
    """One process, the calls that it has, and where it stood last.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, orders: Orders) -> None:
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as unless_started:
            unless_started.enter_context(ours)
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CODE, str(theirs.fileno()), json.dumps(sys.path, default=str)],
                stdin=subprocess.DEVNULL,
                stdout=_standard_error(),  # what a module prints is not for the rows
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the command, which tells them
            )
            unless_started.pop_all()
        self.socket = ours
        self.orders = orders
        self.calls: dict[int, asyncio.Future[Any]] = {}
        self.last = Done(0, None, None, 0.0, 0, 0, NO_USAGE, 0)
        self.writer: asyncio.StreamWriter | None = None
        self.ready = False

    async def run(self, wake: Callable[[], None], hear: Callable[[Worker, Done], None]) -> None:
        """Send its orders and hear what comes of its calls, until it ends."""
        reader, self.writer = await asyncio.open_connection(sock=self.socket)
        self.send(self.orders)
        with suppress(EOFError):
            await receive(reader)
            self.ready = True
            wake()
            while True:
                hear(self, await receive(reader))

    def send(self, thing: object) -> None:
        assert self.writer is not None
        self.writer.write(packed(thing))

    async def end(self) -> None:
        """It ends by itself, when nobody is at the other end."""
        if self.writer is None:
            self.socket.close()
        else:
            self.writer.close()
            with suppress(ConnectionError):
                await self.writer.wait_closed()
        try:
            await asyncio.to_thread(self.process.wait, 1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _standard_error() -> int:
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2
