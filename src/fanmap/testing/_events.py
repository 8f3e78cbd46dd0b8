"""The wire formats of streams: the server-sent events of chat completions, responses and messages.

Pure: the events of an answer, each as the text that goes over the wire, and the one that tells of an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from fanmap.testing._dialect import Asked, Dialect

Json: TypeAlias = dict[str, Any]
STREAMED: Final = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


class Event(NamedTuple):
    """One event as it goes over the wire; does it bring a piece of the text?"""

    text: str
    piece: bool = False


def words(text: str) -> list[str]:
    """The pieces in which a text comes: a word each, with the space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def events(dialect: Dialect, asked: Asked, text: str, index: int, now: datetime) -> Iterator[Event]:
    """The events of an answer, in order; those that bring a piece of the text are one each."""
    answer = dialect.answer(asked, text, index, now)
    if dialect.path == "/v1/chat/completions":
        return _of_chat(asked, answer, words(text))
    return (_of_responses if dialect.path == "/v1/responses" else _of_messages)(answer, words(text))


def error_event(dialect: Dialect, body: Json) -> str:
    """The event that tells of this error, instead of what was still to come."""
    if dialect.path == "/v1/chat/completions":
        return _data(body)
    error = body["error"]
    if dialect.path == "/v1/responses":
        return _event({"type": "error", "code": error["code"], "message": error["message"], "param": None})
    return _event({"type": "error", "error": error})


def _data(body: Json) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _event(body: Json) -> str:
    return f"event: {body['type']}\n{_data(body)}"


def _of_chat(asked: Asked, answer: Json, pieces: list[str]) -> Iterator[Event]:
    whole = {"id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"]}
    whole["model"] = answer["model"]

    def chunk(delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**whole, "choices": [choice]})

    yield Event(chunk({"role": "assistant", "content": ""}))
    for piece in pieces:
        yield Event(chunk({"content": piece}), piece=True)
    yield Event(chunk({}, "stop"))
    options: Json = asked.body.get("stream_options") or {}
    if options.get("include_usage"):
        yield Event(_data({**whole, "choices": [], "usage": answer["usage"]}))
    yield Event("data: [DONE]\n\n")


def _of_responses(answer: Json, pieces: list[str]) -> Iterator[Event]:
    item = answer["output"][0]
    begun: Json = dict(answer)
    begun.update(status="in_progress", output=[], usage=None)
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    part = item["content"][0]
    steps: list[Json] = [
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in pieces),
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": answer},
    ]
    for number, step in enumerate(steps):
        yield Event(_event({**step, "sequence_number": number}), piece=step["type"] == "response.output_text.delta")


def _of_messages(answer: Json, pieces: list[str]) -> Iterator[Event]:
    usage: Json = answer["usage"]
    begun: Json = dict(answer)
    begun.update(content=[], stop_reason=None, usage={**usage, "output_tokens": 1})
    yield Event(_event({"type": "message_start", "message": begun}))
    yield Event(_event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}))
    for piece in pieces:
        delta: Json = {"type": "text_delta", "text": piece}
        yield Event(_event({"type": "content_block_delta", "index": 0, "delta": delta}), piece=True)
    yield Event(_event({"type": "content_block_stop", "index": 0}))
    last = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    yield Event(_event({"type": "message_delta", "delta": last, "usage": {"output_tokens": usage["output_tokens"]}}))
    yield Event(_event({"type": "message_stop"}))
