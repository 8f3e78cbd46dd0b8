"""The HTTP of the loopback server's batches: its routes, and the one body that is no JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fanmap.testing._batch_script import Json, SimulatedBatch
from fanmap.testing._batches import Batches, Cut
from fanmap.testing._script import Reply, Request, Respond

_HangUp: TypeAlias = Callable[[Any], Response]
_Endpoint: TypeAlias = Callable[[HTTPRequest], Awaitable[Response]]
_MISSING = 404, {"type": "error", "error": {"type": "not_found_error", "message": "No such batch."}}


class HalfSent(Response):
    """A body that ends in its middle, as its length shows."""

    def __init__(self, body: bytes, connection: Any) -> None:
        super().__init__(body, media_type="application/jsonl")
        self._connection = connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        self._connection.cut()
        await self._connection.gone.wait()


def batch_routes(batches: Batches, respond: Respond, hang_up: _HangUp) -> list[Route]:
    """The routes of both providers."""

    def guarded(endpoint: _Endpoint) -> _Endpoint:
        async def guard(request: HTTPRequest) -> Response:
            headers = dict(request.headers)
            about = Request(path=request.url.path, prompt="", body={}, headers=headers, retry_count=0)
            reply = respond(about)
            if reply is None or reply.status == 200:
                return await endpoint(request)
            if not isinstance(reply.status, int):
                return hang_up(request.state.connection)
            return _refusal(reply, reply.status)

        return guard

    at = _Endpoints(batches, hang_up)
    look, look_at_messages = at.looking(batches.openai), at.looking(batches.anthropic)
    post, get = ["POST"], ["GET"]
    return [
        Route("/v1/files", guarded(at.upload), methods=post),
        Route("/v1/files/{name}/content", guarded(at.content), methods=get),
        Route("/v1/batches", guarded(at.creating(batches.create)), methods=post),
        Route("/v1/batches", guarded(at.list_batches), methods=get),
        Route("/v1/batches/{name}", guarded(look), methods=get),
        Route("/v1/batches/{name}/cancel", guarded(look), methods=post),
        Route("/v1/messages/batches", guarded(at.creating(batches.create_messages)), methods=post),
        Route("/v1/messages/batches", guarded(at.list_messages), methods=get),
        Route("/v1/messages/batches/{name}", guarded(look_at_messages), methods=get),
        Route("/v1/messages/batches/{name}/cancel", guarded(look_at_messages), methods=post),
        Route("/v1/messages/batches/{name}/results", guarded(at.results), methods=get),
    ]


class _Endpoints:
    """What stands behind the routes."""

    def __init__(self, batches: Batches, hang_up: _HangUp) -> None:
        self._batches = batches
        self._hang_up = hang_up

    # Both providers'

    def creating(self, make: Callable[[Json, Json, float], tuple[int, Any]]) -> _Endpoint:
        """Makes a batch in this way, and loses the answer where the script says so."""

        async def create(request: HTTPRequest) -> Response:
            made = make(json.loads(await request.body()), dict(request.headers), time.time())
            lost = self._batches.loses_answer()
            return self._hang_up(request.state.connection) if lost else _shown(made)

        return create

    def looking(self, show: Callable[[SimulatedBatch], Json]) -> _Endpoint:
        """Shows a batch in this way; under its `/cancel`, cancels it first."""

        async def look(request: HTTPRequest) -> Response:
            batch = self._find(request)
            if batch is not None and request.url.path.endswith("/cancel"):
                self._batches.cancel(batch)
            return _shown(_MISSING if batch is None else (200, show(batch)))

        return look

    def _find(self, request: HTTPRequest) -> SimulatedBatch | None:
        return self._batches.find(request.path_params["name"], time.time())

    # OpenAI's

    async def upload(self, request: HTTPRequest) -> Response:
        """Keeps a file."""
        content = _file_in(await request.body(), request.headers.get("content-type", ""))
        return _shown(self._batches.upload(content))

    async def content(self, request: HTTPRequest) -> Response:
        """Sends a file."""
        body = self._batches.file(request.path_params["name"])
        return _shown(_MISSING) if body is None else _lines(request, body)

    async def list_batches(self, request: HTTPRequest) -> Response:
        """Shows a page of batches, the youngest first."""
        batches = self._batches
        found = [batch for batch in batches.made if batch.provider == "openai"]
        after = request.query_params.get("after")
        names = [batch.id for batch in reversed(found)]
        start = names.index(after) + 1 if after in names else 0
        size = int(request.query_params.get("limit", 20))
        page = names[start : start + size]
        data = [batches.openai(batch) for name in page if (batch := batches.find(name, time.time())) is not None]
        return JSONResponse({"object": "list", "data": data, "has_more": start + size < len(names)})

    # Anthropic's

    async def list_messages(self, request: HTTPRequest) -> Response:  # noqa: ARG002
        """Shows all batches, the youngest first."""
        batches = self._batches
        found = [batches.find(batch.id, time.time()) for batch in reversed(batches.made)]
        data = [batches.anthropic(batch) for batch in found if batch is not None and batch.provider == "anthropic"]
        return JSONResponse({"data": data, "has_more": False, "first_id": None, "last_id": None})

    async def results(self, request: HTTPRequest) -> Response:
        """Sends the answers of a batch."""
        batch = self._find(request)
        return _shown(_MISSING) if batch is None else _lines(request, self._batches.results(batch))


def _shown(said: tuple[int, Any]) -> Response:
    return JSONResponse(said[1], said[0])


def _lines(request: HTTPRequest, body: bytes | Cut) -> Response:
    if isinstance(body, Cut):
        return HalfSent(body.body, request.state.connection)
    return Response(body, media_type="application/jsonl")


def _refusal(reply: Reply, status: int) -> Response:
    headers = dict(reply.headers)
    if reply.retry_after is not None:
        headers["retry-after"] = str(reply.retry_after)
    body = reply.body or {"error": {"message": f"Simulated error with status {status}.", "type": "error",
                                    "code": reply.code}}  # fmt: skip
    return JSONResponse(body, status, headers)


def _file_in(body: bytes, kind: str) -> bytes:
    """The file in a form."""
    boundary = re.search(r'boundary="?([^";]+)', kind)
    for part in body.split(b"--" + boundary[1].encode()) if boundary else ():
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    return b""
