"""OpenAI's batch interface, and that of servers like it: a file of lines goes up, a batch is made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from fanmap._policy.batch.question import Question
from fanmap._policy.batch.wire import (
    SKEW,
    Batch,
    Call,
    Flow,
    Line,
    Place,
    asked,
    count_at,
    document,
    object_at,
    objects_in,
    text_at,
)

most_lines = 50_000
most_bytes = 200_000_000
overhead = 1  # the newline

_ENDED: Final = ("completed", "expired")
_PAGES: Final = 20  # of batches that are looked through for one of ours


def line(key: str, question: Question) -> bytes:
    """A question as a hand-in has it."""
    said = {"custom_id": key, "method": "POST", "url": question.endpoint, "body": question.body}
    return json.dumps(said, separators=(",", ":")).encode()


def weight(question: Question) -> int:
    """Of embeddings 50,000 inputs fit, not lines."""
    inputs: object = question.body.get("input")
    if question.endpoint.endswith("/embeddings") and isinstance(inputs, list):
        texts = cast("list[object]", inputs)
        if texts and not all(isinstance(one, int) for one in texts):
            return len(texts)
    return 1


def create(place: Place, name: str, lines: Sequence[bytes]) -> Flow[str]:
    """Hand in; returns the batch's id."""
    kind, body = _form(name, lines)
    file = text_at((yield from asked(Call("POST", place.url("/files"), body, kind))), "id")
    del body
    said = {
        "input_file_id": file,
        "endpoint": place.endpoint,
        "completion_window": "24h",
        "metadata": {"fanmap": name},
    }
    made = yield from asked(Call("POST", place.url("/batches"), json.dumps(said).encode(), safe=False))
    return text_at(made, "id")


def _form(name: str, lines: Sequence[bytes]) -> tuple[str, bytes]:
    edge = f"fanmap-{name}"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="fanmap-{name}.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    # One join: a second copy of a full hand-in would be 200 MB.
    body = b"\n".join([head.encode() + lines[0], *lines[1:], f"\r\n--{edge}--\r\n".encode()])
    return f"multipart/form-data; boundary={edge}", body


def look(place: Place, batch: str) -> Flow[Batch]:
    """Where does it stand?"""
    return _read(place, (yield from asked(Call("GET", place.url(f"/batches/{batch}")))))


def cancel(place: Place, batch: str) -> Flow[Batch]:
    """End it; what is done stays done."""
    return _read(place, (yield from asked(Call("POST", place.url(f"/batches/{batch}/cancel")))))


def find(place: Place, name: str, began: float, count: int) -> Flow[tuple[list[Batch], bool]]:  # noqa: ARG001
    """The batch that was handed in under this name, by its metadata; surely."""
    after = ""
    for _ in range(_PAGES):
        said = yield from asked(Call("GET", place.url("/batches", f"limit=100{after}"), wants="data"))
        found = objects_in(said, "data")
        ours = [one for one in found if object_at(one, "metadata").get("fanmap") == name]
        if ours:
            return [_read(place, ours[0])], True
        # The newest come first: what was made well before the intent was written ends the search.
        if not found or not said.get("has_more") or count_at(found[-1], "created_at") < began - SKEW:
            break
        after = f"&after={text_at(found[-1], 'id')}"
    return [], True


def read_line(text: bytes) -> Line | None:
    """A line of results or of errors."""
    said = document(text)
    key = text_at(said, "custom_id")
    response = object_at(said, "response")
    status = response.get("status_code")
    if not key:
        return None
    body = response.get("body")
    if isinstance(status, int) and 200 <= status < 600 and (status >= 300 or isinstance(body, dict)):
        return Line(key, status, body)
    error = object_at(said, "error")
    code = text_at(error, "code")
    if not error or code in ("batch_expired", "batch_cancelled"):
        return Line(key, None, None)
    # What was never sent for its own fault has no response.
    return Line(key, 400, {"error": {"message": text_at(error, "message"), "type": "invalid_request_error",
                                     "param": None, "code": code or None}})  # fmt: skip


def _read(place: Place, said: dict[str, Any]) -> Batch:
    status = text_at(said, "status")
    counts = object_at(said, "request_counts")
    names = (text_at(said, name) for name in ("output_file_id", "error_file_id"))
    files = tuple(place.url(f"/files/{name}/content") for name in names if name)
    problems = objects_in(object_at(said, "errors"), "data")
    problem = problems[0] if problems else {}
    state = "ended" if status in _ENDED else status if status in ("failed", "cancelled") else "running"
    return Batch(
        text_at(said, "id"),
        cast("Any", state),
        status,
        count_at(counts, "completed") + count_at(counts, "failed"),
        count_at(counts, "total"),
        count_at(counts, "completed"),
        files,
        text_at(problem, "code"),
        text_at(problem, "message")[:500],
    )


__all__ = ["cancel", "create", "find", "line", "look", "most_bytes", "most_lines", "overhead", "read_line",
           "weight"]  # fmt: skip
