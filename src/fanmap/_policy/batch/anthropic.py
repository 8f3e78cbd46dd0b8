"""Anthropic's batch interface: one request holds all others, results are one stream of lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

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
)
from fanmap._policy.batch.wire import text_at as _text_at

most_lines = 100_000
most_bytes = 256_000_000
overhead = 1  # the comma

_STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_COUNTS: Final = ("processing", "succeeded", "errored", "canceled", "expired")
_PAGES: Final = 20  # of batches that are looked through for one of ours


def line(key: str, question: Question) -> bytes:
    """A question as a hand-in has it."""
    return json.dumps({"custom_id": key, "params": question.body}, separators=(",", ":")).encode()


def weight(question: Question) -> int:  # noqa: ARG001
    """Each is one line."""
    return 1


def create(place: Place, name: str, lines: Sequence[bytes]) -> Flow[str]:  # noqa: ARG001
    """Hand in; returns the batch's id."""
    body = b'{"requests":[' + b",".join(lines) + b"]}"
    return _text_at((yield from asked(Call("POST", place.url("/messages/batches"), body, safe=False))), "id")


def look(place: Place, batch: str) -> Flow[Batch]:
    """Where does it stand?"""
    return _read(place, (yield from asked(Call("GET", place.url(f"/messages/batches/{batch}")))))


def cancel(place: Place, batch: str) -> Flow[Batch]:
    """End it; what is done stays done."""
    return _read(place, (yield from asked(Call("POST", place.url(f"/messages/batches/{batch}/cancel")))))


def find(place: Place, name: str, began: float, count: int) -> Flow[tuple[list[Batch], bool]]:  # noqa: ARG001
    """Batches of as many requests that were made since: it has no names, so they must be read to know."""
    found: list[Batch] = []
    after = ""
    for _ in range(_PAGES):
        said = yield from asked(Call("GET", place.url("/messages/batches", f"limit=100{after}"), wants="data"))
        page = objects_in(said, "data")
        since = [one for one in page if _since(_text_at(one, "created_at"), began - SKEW)]
        found += [batch for one in since if (batch := _read(place, one)).total == count]
        if not since or not said.get("has_more"):  # the newest come first
            break
        after = f"&after_id={_text_at(page[-1], 'id')}"
    return found, False


def _since(text: str, began: float) -> bool:
    try:
        return datetime.fromisoformat(text).timestamp() >= began
    except ValueError:
        return True


def read_line(text: bytes) -> Line | None:
    """A line of results."""
    said = document(text)
    key, result = _text_at(said, "custom_id"), object_at(said, "result")
    if not key:
        return None
    message = result.get("message")
    if result.get("type") == "succeeded" and isinstance(message, dict):
        return Line(key, 200, cast("dict[str, Any]", message))
    if result.get("type") == "errored":
        error = object_at(result, "error")
        inner = object_at(error, "error") or error
        kind = _text_at(inner, "type")
        return Line(key, _STATUSES.get(kind, 500), {"type": "error", "error": inner})
    return Line(key, None, None)


def _read(place: Place, said: dict[str, Any]) -> Batch:
    status = _text_at(said, "processing_status")
    counts = {name: count_at(object_at(said, "request_counts"), name) for name in _COUNTS}
    total = sum(counts.values())
    results = _text_at(said, "results_url")
    ended = status == "ended"
    cancelled = ended and bool(said.get("cancel_initiated_at"))
    # On the server that it was asked of: a proxy in front of the provider shows the provider's own address.
    urls = (place.url(f"/messages/batches/{_text_at(said, 'id')}/results"),) if urlsplit(results).path else ()
    state: Literal["cancelled", "ended", "running"] = "cancelled" if cancelled else "ended" if ended else "running"
    finished = total - counts["processing"]
    return Batch(_text_at(said, "id"), state, status, finished, total, counts["succeeded"], urls)
