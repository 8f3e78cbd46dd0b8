"""The loopback server's HTTP: a Starlette application, which answers as its provider says; `_listener` serves it."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fanmap.testing._batch_http import batch_routes
from fanmap.testing._batches import Batches
from fanmap.testing._dialect import Asked, Dialect, Levels, retry_after_text
from fanmap.testing._events import STREAMED, Event, error_event, events
from fanmap.testing._listener import Connection, HangUp
from fanmap.testing._provider import Fate, Provider
from fanmap.testing._script import Reply, Request, Respond
from fanmap.testing._text import simulated_reply
from fanmap.testing._wire import DIALECTS, models


class EventStream(Response):
    """Server-sent events, served until the last one is sent."""

    media_type = "text/event-stream"

    def __init__(
        self,
        connection: Connection,
        serving: ExitStack,
        headers: Mapping[str, str],
        told: tuple[Iterable[Event], str],
        reply: Reply,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", **headers})
        del self.headers["content-length"]
        self._connection, self._serving = connection, serving
        self._events, self._error = told
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        with suppress(ClientDisconnect):
            with self._serving:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                last = await self._send_events(send)
                if last is None:
                    self._connection.cut()
                    raise ClientDisconnect
            await _send(send, last)  # when it is in the log, where its client may look then
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await self._connection.gone.wait()

    async def _send_events(self, send: Send) -> str | None:
        """Send all but the last, which is returned; None: the connection is to be cut."""
        reply, pieces = self._reply, 0
        *events, last = self._events
        for event in events:
            if event.piece:
                if pieces == reply.breaks_after:
                    return None if reply.breaks_with == "drop" else self._error
                if pieces and reply.chunk_delay:
                    await self._connection.hold(reply.chunk_delay)
                pieces += 1
            if self._connection.gone.is_set():
                raise ClientDisconnect
            await _send(send, event.text)
        if self._connection.gone.is_set():
            raise ClientDisconnect
        return last.text


async def _send(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def application(provider: Provider, respond: Respond) -> tuple[Starlette, Batches]:
    """The application: one route a dialect, all of one provider, and its batches."""
    batches = Batches(functools.partial(_answer_line, provider))

    async def list_models(request: HTTPRequest) -> Response:
        return JSONResponse(models(after=request.query_params.get("after_id")))

    routes = [Route(dialect.path, _endpoint(dialect, provider, respond), methods=["POST"]) for dialect in DIALECTS]
    routes += [Route("/v1/models", list_models, methods=["GET"]), *batch_routes(batches, respond, HangUp)]
    return Starlette(routes=routes), batches


def _answer_line(provider: Provider, request: Request) -> tuple[int, Any]:
    """A line of a batch, answered as the request that it stands for would be, without limits and dice."""
    dialect = next((one for one in DIALECTS if one.path.endswith(request.path)), None)
    if dialect is None:
        return 404, {"error": {"message": "Unknown endpoint.", "type": "invalid_request_error"}}
    try:
        asked = dialect.read(dict(request.body))
    except (ValueError, LookupError, TypeError, AttributeError):
        return 400, {"error": {"message": "It cannot be read.", "type": "invalid_request_error"}}
    text = simulated_reply(asked.prompt, asked.system)
    return 200, dialect.answer(asked, text, provider.sent, datetime.now(UTC))


def _endpoint(dialect: Dialect, provider: Provider, respond: Respond) -> Callable[[HTTPRequest], Awaitable[Response]]:
    async def endpoint(request: HTTPRequest) -> Response:
        connection: Connection = request.state.connection
        try:
            asked, body, reply = _read(dialect, await request.body())
            retries = request.headers.get("x-stainless-retry-count", "")
            about = Request(
                path=request.url.path,
                prompt=asked.prompt,
                body=body,
                headers=dict(request.headers),
                retry_count=int(retries) if retries.isdecimal() else 0,
            )
            reply = reply or respond(about)
            with ExitStack() as stack:
                fate = stack.enter_context(
                    provider.serving(
                        asked.prompt,
                        tokens=asked.tokens,
                        scripted=(reply.status, reply.delay) if reply else None,
                        path=request.url.path,
                        retry_count=about.retry_count,
                    )
                )
                await connection.hold(fate.delay)
                if body.get("stream") and fate.status == 200 and (reply is None or reply.body is None):
                    headers = _headers(dialect, fate, reply or Reply(), provider.levels())
                    told = _told(dialect, asked, fate, reply or Reply())
                    return EventStream(connection, stack.pop_all(), headers, told, reply or Reply())
        except ClientDisconnect:
            return HangUp(connection)
        if not isinstance(fate.status, int):
            return HangUp(connection)
        return _response(dialect, asked, fate, fate.status, reply or Reply(), provider.levels())

    return endpoint


def _read(dialect: Dialect, raw: bytes) -> tuple[Asked, Mapping[str, Any], Reply | None]:
    """What is asked and the JSON it came in; a Reply where the server can't make sense of it."""
    nothing = Asked("", "", "", 0, 0, {})
    try:
        body = json.loads(raw)
        asked = dialect.read(body)
    except (ValueError, LookupError, TypeError, AttributeError):
        return nothing, {}, Reply(400)
    if body.get("stream") and dialect.path not in STREAMED:
        return asked, body, Reply(400, code="streaming_is_not_simulated")
    return asked, body, None


def _headers(dialect: Dialect, fate: Fate, reply: Reply, levels: Levels) -> dict[str, str]:
    headers = {**dialect.headers(fate.index, levels, datetime.now(UTC)), "x-simulated": "fanmap.testing"}
    if isinstance(reply.retry_after, str):
        headers["retry-after"] = reply.retry_after
    elif fate.wait is not None:
        headers["retry-after"] = retry_after_text(fate.wait)
    if not dialect.names_wait:
        headers.pop("retry-after", None)
    headers.update(reply.headers)
    return headers


def _said(asked: Asked, reply: Reply) -> str:
    return simulated_reply(asked.prompt, asked.system) if reply.text is None else reply.text


def _told(dialect: Dialect, asked: Asked, fate: Fate, reply: Reply) -> tuple[Iterable[Event], str]:
    """The events of an answer, and the one that tells of the error which may come instead of the rest."""
    error = ""
    if isinstance(reply.breaks_with, int):
        broken = replace(fate, status=reply.breaks_with)
        error = error_event(dialect, dialect.error(broken, model=asked.model, code=reply.code))
    return events(dialect, asked, _said(asked, reply), fate.index, datetime.now(UTC)), error


def _response(dialect: Dialect, asked: Asked, fate: Fate, status: int, reply: Reply, levels: Levels) -> Response:
    if not isinstance(reply.retry_after, str) and reply.retry_after is not None:
        fate = replace(fate, wait=reply.retry_after)
    headers = _headers(dialect, fate, reply, levels)
    if isinstance(reply.body, str):
        return Response(reply.body, status, headers)
    body = reply.body
    if body is None and status < 400:
        body = dialect.answer(asked, _said(asked, reply), fate.index, datetime.now(UTC))
    elif body is None:
        body = dialect.error(fate, model=asked.model, code=reply.code)
    return JSONResponse(body, status, headers)
