"""Who sends a batch's own requests: the client that its questions were taken from, or one like it.

httpx, httpx2 and requests, by their public faces; none of them is imported here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, Protocol

from fanmap._drive.batch.spooling import drop, put, spool
from fanmap._drive.drivers import loops
from fanmap._drive.wire.observing import Request
from fanmap._drive.wire.wires import ASYNC_HTTPX, REQUESTS
from fanmap._policy.batch.wire import Answer, Call

_CHUNK: Final = 1 << 16
_TIMEOUT: Final = 600  # seconds: a full hand-in takes longer than an answer


class Lost(Exception):
    """Raised where no answer came: whether the request arrived nobody knows."""


class Sender(Protocol):
    """Sends a batch's own requests as the client would that its questions were taken from."""

    is_async: bool

    def send(self, call: Call, headers: Mapping[str, str]) -> Any:
        """The answer and, where it was spooled, the file; awaited where it is async.

        Raises:
            Lost: none came.
        """
        ...

    def close(self) -> Any:
        """Close the client where it is one of ours; awaited where it is async."""
        ...


def sender_for(request: Request) -> Sender:
    """Who sends as this request's client does."""
    if request.wire is REQUESTS:
        return _Session(request.client, request.kwargs)
    auth = {name: value for name, value in request.kwargs.items() if name == "auth"}
    if request.wire is ASYNC_HTTPX and loops.running() is not None:
        return _AsyncClient(request.client, auth, _loop_here())
    return _Client(request.client, auth)


def _loop_here() -> object:
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def _with_kind(call: Call, headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "content-type": call.kind} if call.method == "POST" else dict(headers)


class _Client:
    """httpx's and httpx2's blocking clients."""

    is_async = False

    def __init__(self, client: Any, auth: Mapping[str, Any]) -> None:
        self._client = client
        self._auth = auth  # of the one request; {}: the client's
        self._ours: Any = None

    def close(self) -> None:
        if self._ours is not None:
            self._ours.close()

    def send(self, call: Call, headers: Mapping[str, str]) -> tuple[Answer, IO[bytes] | None]:
        client: Any = self._client
        if client.is_closed or not hasattr(client, "__enter__"):
            client = self._client = self._ours = _another(client, "Client")
        request = _built(client, call, headers)
        try:
            response = client.send(request, stream=True, **self._auth, **_following(call))
            try:
                if not call.spooled or response.status_code >= 300:
                    return Answer(response.status_code, response.read()), None
                with _spooling() as file:
                    for piece in response.iter_bytes(_CHUNK):
                        put(file, piece)
                return Answer(response.status_code, b""), file
            finally:
                response.close()
                connection = _left_open(client, response)
                if connection is not None:
                    connection.close()
        except _package_of(request).HTTPStatusError as error:
            return _refusal(error), None
        except _errors_of(request) as error:
            raise Lost(type(error).__name__) from error


class _AsyncClient:
    """Their async ones, on the loop where they are at home."""

    is_async = True

    def __init__(self, client: Any, auth: Mapping[str, Any], loop: object) -> None:
        self._client = client
        self._auth = auth
        self._loop = loop
        self._ours: Any = None

    async def close(self) -> None:
        if self._ours is not None:
            await self._ours.aclose()

    async def send(self, call: Call, headers: Mapping[str, str]) -> tuple[Answer, IO[bytes] | None]:
        client: Any = self._client
        if client.is_closed or self._loop is not _loop_here():
            client, self._loop = _another(client, "AsyncClient"), _loop_here()
            self._client = self._ours = client
        request = _built(client, call, headers)
        try:
            response = await client.send(request, stream=True, **self._auth, **_following(call))
            try:
                if not call.spooled or response.status_code >= 300:
                    return Answer(response.status_code, await response.aread()), None
                with _spooling() as file:
                    async for piece in response.aiter_bytes(_CHUNK):
                        put(file, piece)
                return Answer(response.status_code, b""), file
            finally:
                await response.aclose()
                connection = _left_open(client, response)
                if connection is not None:
                    await connection.aclose()
        except RuntimeError as error:  # a client's connections may belong to a loop that it was used on before
            self._client = self._ours = _another(client, "AsyncClient")
            raise Lost(type(error).__name__) from error
        except _package_of(request).HTTPStatusError as error:
            return _refusal(error), None
        except _errors_of(request) as error:
            raise Lost(type(error).__name__) from error


class _Session:
    """requests' sessions, which can be used after they were closed."""

    is_async = False

    def __init__(self, session: Any, given: Mapping[str, Any]) -> None:
        self._session = session
        self._given = given

    def close(self) -> None:
        self._session.close()  # which only gives idle connections back

    def send(self, call: Call, headers: Mapping[str, str]) -> tuple[Answer, IO[bytes] | None]:
        session: Any = self._session
        own = self._given.get
        package = sys.modules["requests"]
        given = package.Request(call.method, call.url, headers=_with_kind(call, headers), data=call.body or None)
        prepared = session.prepare_request(given)
        if "authorization" in headers:  # a session would put one from a .netrc in its place
            prepared.headers["authorization"] = headers["authorization"]
        settings = session.merge_environment_settings(
            prepared.url, own("proxies") or {}, True, own("verify"), own("cert")
        )
        errors = (package.RequestException, OSError)
        try:
            response = session.send(prepared, timeout=_TIMEOUT, **settings)
            if not call.spooled or response.status_code >= 300:
                return Answer(response.status_code, response.content), None
            with _spooling() as file:
                for piece in response.iter_content(_CHUNK):
                    put(file, piece)
            return Answer(response.status_code, b""), file
        except package.HTTPError as error:
            if error.response is None:
                raise Lost(type(error).__name__) from error
            return _refusal(error), None
        except errors as error:
            raise Lost(type(error).__name__) from error


@contextmanager
def _spooling() -> Generator[IO[bytes]]:
    """A file for what is to be read later, by somebody who closes it; closed here where that goes wrong."""
    file = spool()
    try:
        yield file
    except BaseException:
        drop(file)
        raise


def _another(client: Any, kind: str) -> Any:
    """A fresh client of the same package, where the one of the request is closed or at home elsewhere."""
    package = next(
        sys.modules[name]
        for one in type(client).__mro__
        if (name := one.__module__.partition(".")[0]) in ("httpx", "httpx2")
    )
    return getattr(package, kind)(timeout=_TIMEOUT, auth=getattr(client, "auth", None))


def _built(client: Any, call: Call, headers: Mapping[str, str]) -> Any:
    named = _with_kind(call, headers)
    request = client.build_request(call.method, call.url, headers=named, content=call.body, timeout=_TIMEOUT)
    request.url = type(request.url)(call.url)  # a client's own `params` are in it, and would stand in place of the rest
    return request


def _following(call: Call) -> dict[str, Any]:
    """Results may be elsewhere."""
    return {"follow_redirects": True} if call.spooled else {}


def _refusal(error: Any) -> Answer:
    """The response that a hook of the client has raised for, as by `raise_for_status`."""
    try:
        body = error.response.content
    except Exception:  # it has not been read
        body = b""
    return Answer(error.response.status_code, body)


def _left_open(client: Any, response: Any) -> Any:
    """The connection of a response whose client was closed while it was made: it has not closed what was not there."""
    return response.extensions.get("network_stream") if client.is_closed else None


def _errors_of(request: Any) -> tuple[type[BaseException], ...]:
    return _package_of(request).RequestError, OSError


def _package_of(request: Any) -> Any:
    return sys.modules[type(request).__module__.partition(".")[0]]
