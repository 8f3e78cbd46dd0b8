"""The loopback server's batches: files, batches and message batches as OpenAI and Anthropic have them.

Pure: told the time, and how a request is answered. A batch does its work when it is first looked at after its delay.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from fanmap.testing._batch_script import BatchScript, Json, SimulatedBatch
from fanmap.testing._script import Reply, Request
from fanmap.testing._text import count_tokens


class Cut(NamedTuple):
    """A body of which only the first half is sent."""

    body: bytes


class Batches:
    """All of them, in the order in which they were made. Not thread-safe: the server's thread runs it.

    Attributes:
        made: every batch.
    """

    def __init__(self, answer: Callable[[Request], tuple[int, Any]]) -> None:
        self._answer = answer
        self._files: dict[str, bytes] = {}
        self.script = BatchScript()
        self.made: list[SimulatedBatch] = []

    @property
    def script(self) -> BatchScript:
        """How they go; what it counts is counted from its setting on."""
        return self._script

    @script.setter
    def script(self, script: BatchScript) -> None:
        self._script = script
        self._cuts = self._lost = 0

    def reset(self) -> None:
        """Forget all of it."""
        self._files.clear()
        self.made.clear()
        self.script = BatchScript()

    # OpenAI

    def upload(self, content: bytes) -> tuple[int, Json]:
        """`POST /v1/files`."""
        name = f"file-simulated-{len(self._files)}"
        self._files[name] = content
        return 200, {"id": name, "object": "file", "bytes": len(content), "purpose": "batch", "status": "processed"}

    def create(self, said: Json, headers: Json, now: float) -> tuple[int, Json]:
        """`POST /v1/batches`."""
        content = self._files.get(str(said.get("input_file_id")))
        if content is None:
            return 404, _openai_problem("No such File object.")
        lines = [json.loads(line) for line in content.splitlines() if line.strip()]
        requests = {
            line["custom_id"]: Request(
                path=line["url"], prompt=_prompt(line["body"]), body=line["body"], headers=headers, retry_count=0
            )
            for line in lines
        }
        batch = self._made("openai", requests, said, now)
        problem = None
        if len(requests) != len(lines):
            problem = "duplicate_custom_id", "A custom_id occurs twice."
        elif any(line["url"] != said.get("endpoint") for line in lines):
            problem = "mismatched_url", "The URL of a line is not the batch's endpoint."
        elif len({line["body"].get("model") for line in lines}) > 1:
            problem = "mismatched_model", "The models of the lines differ."
        elif self.script.invalid is not None:
            problem = "invalid_request", self.script.invalid
        elif self.script.most_tokens is not None and self._enqueued() > self.script.most_tokens:
            problem = "token_limit_exceeded", f"Enqueued token limit reached. Limit: {self.script.most_tokens}."
        if problem is not None:
            batch.state, batch.problem = "failed", {"code": problem[0], "message": problem[1], "line": None}
        return 200, self.openai(batch)

    def openai(self, batch: SimulatedBatch) -> Json:
        """A batch as OpenAI shows it."""
        said: Json = {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.about.get("endpoint"),
            "input_file_id": batch.about.get("input_file_id"),
            "completion_window": "24h",
            "status": {"running": "in_progress", "ended": "expired" if batch.expired else "completed"}.get(
                batch.state, batch.state
            ),
            "created_at": int(batch.created),
            "output_file_id": f"{batch.id}-output" if batch.good else None,
            "error_file_id": f"{batch.id}-errors" if batch.bad else None,
            "errors": {"object": "list", "data": [batch.problem]} if batch.problem else None,
            "request_counts": {
                "total": len(batch.requests),
                "completed": len(batch.answered),
                "failed": batch.failed,
            },
            "metadata": batch.about.get("metadata"),
        }
        return said

    def file(self, name: str) -> bytes | Cut | None:
        """`GET /v1/files/NAME/content`."""
        for batch in self.made:
            if name == f"{batch.id}-output":
                return self._sent(batch.good)
            if name == f"{batch.id}-errors":
                return self._sent(batch.bad)
        return self._files.get(name)

    # Anthropic

    def create_messages(self, said: Json, headers: Json, now: float) -> tuple[int, Json]:
        """`POST /v1/messages/batches`."""
        requests: dict[str, Request] = {}
        for one in cast("list[Json]", said["requests"]):
            if one["custom_id"] in requests:
                return 400, _anthropic_problem("custom_id values must be unique.")
            params: Json = one["params"]
            requests[one["custom_id"]] = Request(
                path="/v1/messages", prompt=_prompt(params), body=params, headers=headers, retry_count=0
            )
        return 200, self.anthropic(self._made("anthropic", requests, {}, now))

    def anthropic(self, batch: SimulatedBatch) -> Json:
        """A batch as Anthropic shows it."""
        over = batch.state != "running"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if over else "in_progress",
            "request_counts": {
                "processing": 0 if over else len(batch.requests),
                "succeeded": len(batch.answered),
                "errored": batch.failed,
                "canceled": len(batch.requests) - len(batch.answered) if batch.state == "cancelled" else 0,
                "expired": len(batch.requests) - len(batch.answered) - batch.failed if batch.state == "ended" else 0,
            },
            "created_at": datetime.fromtimestamp(batch.created, UTC).isoformat(),
            "cancel_initiated_at": "2026-01-01T00:00:00Z" if batch.state == "cancelled" else None,
            "results_url": f"https://api.anthropic.com/v1/messages/batches/{batch.id}/results" if over else None,
        }

    def results(self, batch: SimulatedBatch) -> bytes | Cut:
        """`GET /v1/messages/batches/ID/results`."""
        return self._sent([*batch.good, *batch.bad])

    # Both

    def find(self, name: str, now: float) -> SimulatedBatch | None:
        """A batch by its id, as it stands now."""
        batch = next((one for one in self.made if one.id == name), None)
        if batch is not None and batch.state == "running" and now >= batch.created + self.script.delay:
            self._work(batch)
        return batch

    def cancel(self, batch: SimulatedBatch) -> None:
        """End it undone."""
        if batch.state == "running":
            batch.state = "cancelled"

    def loses_answer(self) -> bool:
        """Is the answer to the making of this batch lost?"""
        self._lost += 1
        return self._lost <= self.script.cut_answers

    def _made(self, provider: Any, requests: dict[str, Request], about: Json, now: float) -> SimulatedBatch:
        size = sum(count_tokens(json.dumps(dict(one.body))) for one in requests.values())
        name = f"{'batch' if provider == 'openai' else 'msgbatch'}_simulated_{len(self.made)}"
        batch = SimulatedBatch(name, provider, requests, created=now, about=about, tokens=size)
        self.made.append(batch)
        return batch

    def _enqueued(self) -> int:
        return sum(batch.tokens for batch in self.made if batch.state == "running")

    def _sent(self, lines: list[bytes]) -> bytes | Cut:
        body = b"".join(line + b"\n" for line in lines)
        self._cuts += 1
        return Cut(body) if self._cuts <= self.script.cut_results else body

    def _work(self, batch: SimulatedBatch) -> None:
        batch.state = "ended"
        for key, request in batch.requests.items():
            fate = None if self.script.line is None else self.script.line(request)
            if fate == "dropped":
                batch.failed += batch.provider == "anthropic"
                continue
            if fate == "expired":
                batch.expired += 1
                batch.bad.append(_expired(batch.provider, key))
                continue
            status, body = self._answer(request) if fate is None else _replied(fate, self._answer, request)
            if status < 400:
                batch.answered.append(key)
                batch.good.append(_line(batch.provider, key, status, body))
            else:
                batch.failed += 1
                batch.bad.append(_line(batch.provider, key, status, body))
        if self.script.shuffled:
            random.Random(len(batch.good)).shuffle(batch.good)


def _replied(reply: Reply, answer: Callable[[Request], tuple[int, Any]], request: Request) -> tuple[int, Any]:
    status = reply.status if isinstance(reply.status, int) else 500
    if reply.body is not None:
        return status, reply.body
    if status < 400:
        return answer(request)
    if request.path.endswith("/messages"):
        kinds = {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}
        return status, _anthropic_problem("Simulated error.", kinds.get(status, "api_error"))
    return status, _openai_problem(f"Simulated error with status {status}.", reply.code)


def _line(provider: str, key: str, status: int, body: Any) -> bytes:
    if provider == "openai":
        response = {"status_code": status, "request_id": "req_simulated", "body": body}
        return json.dumps({"id": "batch_req", "custom_id": key, "response": response, "error": None}).encode()
    result = {"type": "succeeded", "message": body} if status < 400 else {"type": "errored", "error": body}
    return json.dumps({"custom_id": key, "result": result}).encode()


def _expired(provider: str, key: str) -> bytes:
    if provider == "openai":
        error = {"code": "batch_expired", "message": "This request could not be executed before the window expired."}
        return json.dumps({"id": "batch_req", "custom_id": key, "response": None, "error": error}).encode()
    return json.dumps({"custom_id": key, "result": {"type": "expired"}}).encode()


def _openai_problem(text: str, code: str | None = None) -> Json:
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": code}}


def _anthropic_problem(text: str, kind: str = "invalid_request_error") -> Json:
    return {"type": "error", "error": {"type": kind, "message": text}}


def _prompt(body: Json) -> str:
    asked: Any = body.get("messages") or body.get("input") or ""
    if isinstance(asked, list):
        last: Any = cast("list[Any]", asked)[-1]
        asked = cast("Json", last).get("content", "") if isinstance(last, dict) else last
    return asked if isinstance(asked, str) else json.dumps(asked)
