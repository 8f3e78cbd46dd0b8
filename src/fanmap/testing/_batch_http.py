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

from fanmap.testing._batches import Batches, Cut
from fanmap.testing._script import Reply, Request, Respond

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


def batch_routes(batches: Batches, respond: Respond, hang_up: Callable[[Any], Response]) -> list[Route]:
    """The routes of both providers."""

    def guarded(endpoint: Callable[[HTTPRequest, dict[str, str]], Awaitable[Response]]) -> _Endpoint:
        async def guard(request: HTTPRequest) -> Response:
            headers = dict(request.headers)
            about = Request(path=request.url.path, prompt="", body={}, headers=headers, retry_count=0)
            reply = respond(about)
            if reply is None or reply.status == 200:
                return await endpoint(request, headers)
            if not isinstance(reply.status, int):
                return hang_up(request.state.connection)
            return _refusal(reply, reply.status)

        return guard

    async def upload(request: HTTPRequest, headers: dict[str, str]) -> Response:
        content = _file_in(await request.body(), headers.get("content-type", ""))
        return _shown(batches.upload(content))

    async def create(request: HTTPRequest, headers: dict[str, str]) -> Response:
        made = batches.create(json.loads(await request.body()), headers, time.time())
        return hang_up(request.state.connection) if batches.loses_answer() else _shown(made)

    async def listed(request: HTTPRequest, headers: dict[str, str]) -> Response:  # noqa: ARG001
        found = [batch for batch in batches.made if batch.provider == "openai"]
        after = request.query_params.get("after")
        names = [batch.id for batch in reversed(found)]
        start = names.index(after) + 1 if after in names else 0
        size = int(request.query_params.get("limit", 20))
        page = names[start : start + size]
        data = [batches.openai(batch) for name in page if (batch := batches.find(name, time.time())) is not None]
        return JSONResponse({"object": "list", "data": data, "has_more": start + size < len(names)})

    async def look(request: HTTPRequest, headers: dict[str, str]) -> Response:  # noqa: ARG001
        batch = batches.find(request.path_params["name"], time.time())
        if batch is not None and request.url.path.endswith("/cancel"):
            batches.cancel(batch)
        return _shown(_MISSING if batch is None else (200, batches.openai(batch)))

    async def content(request: HTTPRequest, headers: dict[str, str]) -> Response:  # noqa: ARG001
        body = batches.file(request.path_params["name"])
        return _shown(_MISSING) if body is None else _lines(request, body)

    async def create_messages(request: HTTPRequest, headers: dict[str, str]) -> Response:
        made = batches.create_messages(json.loads(await request.body()), headers, time.time())
        return hang_up(request.state.connection) if batches.loses_answer() else _shown(made)

    async def listed_messages(request: HTTPRequest, headers: dict[str, str]) -> Response:  # noqa: ARG001
        found = [batches.find(batch.id, time.time()) for batch in reversed(batches.made)]
        data = [batches.anthropic(batch) for batch in found if batch is not None and batch.provider == "anthropic"]
        return JSONResponse({"data": data, "has_more": False, "first_id": None, "last_id": None})

    async def look_at_messages(request: HTTPRequest, headers: dict[str, str]) -> Response:  # noqa: ARG001
        batch = batches.find(request.path_params["name"], time.time())
        if batch is not None and request.url.path.endswith("/cancel"):
            batches.cancel(batch)
        return _shown(_MISSING if batch is None else (200, batches.anthropic(batch)))

    async def results(request: HTTPRequest, headers: dict[str, str]) -> Response:  # noqa: ARG001
        batch = batches.find(request.path_params["name"], time.time())
        return _shown(_MISSING) if batch is None else _lines(request, batches.results(batch))

    post, get = ["POST"], ["GET"]
    return [
        Route("/v1/files", guarded(upload), methods=post),
        Route("/v1/files/{name}/content", guarded(content), methods=get),
        Route("/v1/batches", guarded(create), methods=post),
        Route("/v1/batches", guarded(listed), methods=get),
        Route("/v1/batches/{name}", guarded(look), methods=get),
        Route("/v1/batches/{name}/cancel", guarded(look), methods=post),
        Route("/v1/messages/batches", guarded(create_messages), methods=post),
        Route("/v1/messages/batches", guarded(listed_messages), methods=get),
        Route("/v1/messages/batches/{name}", guarded(look_at_messages), methods=get),
        Route("/v1/messages/batches/{name}/cancel", guarded(look_at_messages), methods=post),
        Route("/v1/messages/batches/{name}/results", guarded(results), methods=get),
    ]


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
