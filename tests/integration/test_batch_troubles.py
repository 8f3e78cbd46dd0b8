"""What goes wrong around a batch job: its file, its disk, its key half-way, another function."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fanmap import BatchError, BatchPending, JournalError, parallel_map
from fanmap._drive.journals import journal_file
from fanmap.testing import BatchScript, Reply, Request, Server, serve

PROMPTS = ["a", "b", "c"]


def options(server: Server, file: Path) -> dict[str, Any]:
    return {"resume": file, "poll": 0.001, "endpoints": (server.openai_url,), "durable": False}


def asking(server: Server, before: str = "") -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        with httpx.Client(verify=False, timeout=120) as client:
            body = {"model": "m", "input": before + prompt}
            answer = client.post(f"{server.openai_url}/responses", json=body, headers={"authorization": "Bearer k"})
        answer.raise_for_status()
        return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    return ask


def told(prompt: str) -> str:
    return f"[simulated] {prompt}"


def lines(server: Server) -> list[int]:
    return [len(batch.requests) for batch in server.batches.made]


def test_another_version_of_the_function_asks_anew_and_leaves_the_old_answers_alone(tmp_path: Path) -> None:
    with serve() as server:
        here = options(server, tmp_path / "job")
        assert parallel_map(asking(server)).batch(PROMPTS, **here) == [told(one) for one in PROMPTS]
        changed = parallel_map(asking(server, "please "))
        assert changed.batch(PROMPTS, **here) == [told(one) for one in PROMPTS]  # nobody has said that it is another
        assert changed.batch(PROMPTS, **here, version=2) == [told(f"please {one}") for one in PROMPTS]
        assert parallel_map(asking(server)).batch(PROMPTS, **here) == [told(one) for one in PROMPTS]
        assert lines(server) == [3, 3]


def test_a_file_of_another_function_keeps_the_answers_of_both(tmp_path: Path) -> None:
    with serve() as server:
        here = options(server, tmp_path / "job")
        server.batches.script = BatchScript(delay=math.inf)

        def other(prompt: str) -> str:
            return asking(server, "other ")(prompt)

        with pytest.raises(BatchPending):
            parallel_map(other).batch(PROMPTS, **here, wait=0)
        server.batches.script = BatchScript()
        assert parallel_map(asking(server)).batch(PROMPTS, **here) == [told(one) for one in PROMPTS]
        assert parallel_map(other).batch(PROMPTS, **here) == [told(f"other {one}") for one in PROMPTS]
        assert lines(server) == [3, 3]


@pytest.mark.parametrize("half_way", ["/v1/batches/batch_simulated_0", "/v1/files/"])
def test_a_key_that_is_refused_half_way_is_an_error_and_another_one_goes_on(half_way: str, tmp_path: Path) -> None:
    revoked = [True]

    def respond(request: Request) -> Reply | None:
        looks = request.path.startswith(half_way) and request.path != "/v1/files/"
        return Reply(401) if revoked[0] and looks else None

    with serve(respond=respond) as server:
        ask = parallel_map(asking(server))
        with pytest.raises(BatchError, match="status 401"):
            ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        revoked[0] = False
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert lines(server) == [3]


@pytest.mark.parametrize("kind", ["intent", "handed_in", "answer", "over", "value"])
def test_a_disk_that_is_full_is_said_and_nothing_is_paid_twice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, room = journal_file.append, [False]

    def appending(fd: int, line: bytes) -> None:
        if not room[0] and (f'"kind":"{kind}"'.encode() in line or (kind == "value" and b'"value":' in line)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(fd, line)

    monkeypatch.setattr(journal_file, "append", appending)
    with serve() as server:
        ask = parallel_map(asking(server))
        with pytest.raises((JournalError, BatchError), match="No space left|can no longer be written"):
            ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        room[0] = True
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert sum(lines(server)) == 3
