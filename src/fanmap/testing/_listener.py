"""The loopback server's thread: uvicorn on 127.0.0.1, with connections that can be cut.

It runs in real time. Plain ASGI can neither cut a connection without a reply nor cheaply notice that the client has
left; the protocol class can, and hands itself to the application in the request's state.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from contextlib import suppress
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """A connection that can be cut, and waited on until the client leaves."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gone = asyncio.Event()
        self.app_state = {**self.app_state, "connection": self}
        self.access_log = False  # on this object: uvicorn's own switch would silence its logger everywhere

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)

    def cut(self) -> None:
        """Close at once; what was not sent is lost."""
        self.transport.abort()

    async def hold(self, seconds: float) -> None:
        """Wait. Raises ClientDisconnect as soon as the client leaves."""
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise ClientDisconnect()


class HangUp(Response):
    """No reply: the connection is cut."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        self._connection.cut()
        # Returning before the connection counts as lost would make uvicorn answer with a 500.
        await self._connection.gone.wait()


class Listener(uvicorn.Server):
    """uvicorn in a daemon thread on 127.0.0.1, ready on return and closed within milliseconds.

    uvicorn looks ten times a second whether it should end, and ends gently; a test wants neither.
    """

    def __init__(self, app: Starlette, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                interface="asgi3",
                ws="none",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                # A client that reuses a connection while it expires sees a drop that nobody asked for.
                timeout_keep_alive=600,
            )
        )
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="fanmap-testing-server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if not self.started:
            self._socket.close()
            raise RuntimeError("the loopback server did not start; its thread has printed why")

    def close(self) -> None:
        """Cut every connection, end the thread. Again: nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self.serve(sockets=[self._socket]))
        finally:
            self._ready.set()  # also when it could not start: nobody may wait for ever

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._ready.set()
        await self._closing.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        # Listen no more, and let what was just accepted become a connection, which takes a few turns of the
        # loop: a server that is closed under an accept leaves a transport half made and never closed.
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listening in server.sockets:
                with suppress(NotImplementedError):  # Windows' own loop has no readers
                    loop.remove_reader(listening)
        for _ in range(8):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        connections = cast("set[Connection]", self.server_state.connections)
        while connections or self.server_state.tasks:
            for connection in list(connections):
                connection.cut()
            await asyncio.sleep(0.001)


def _listen(port: int) -> socket.socket:
    # With the protocol spelled out: asyncio turns Nagle's algorithm off only then, and with it on
    # every answer on a reused connection comes 40 ms late.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener
