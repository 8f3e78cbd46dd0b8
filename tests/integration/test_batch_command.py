"""`fanmap batch`, as people call it."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from fanmap import BatchError, BatchPending, parallel_map
from fanmap._batch_command.command import _exchange, _headers, batch  # pyright: ignore[reportPrivateUsage]
from fanmap._failure import CommandError
from fanmap._policy.batch.job import HandIn
from fanmap._policy.batch.wire import Call, Place
from fanmap.testing import BatchScript, Server, serve


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


def command(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "ANTHROPIC"))}
    return subprocess.run(
        [sys.executable, "-m", "fanmap", "batch", *words],
        capture_output=True, text=True, timeout=600, env={**clean, **env},
    )  # fmt: skip


def begin(server: Server, file: Path, path: str, body: dict[str, Any]) -> Any:
    def ask(prompt: str) -> str:
        with httpx.Client(verify=False, timeout=120) as client:
            answer = client.post(f"{server.url}/v1/{path}", json={**body, "model": prompt[0]})
        return answer.raise_for_status().text

    def call(**options: Any) -> Any:
        return parallel_map(ask).batch(["m1", "m2"], resume=file, poll=0.001, endpoints=(server.url,), **options)

    server.batches.script = BatchScript(delay=math.inf)
    with pytest.raises(BatchPending):
        call(wait=0)
    return call


@pytest.mark.whole
def test_status_and_cancel(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "job.jsonl"
    call = begin(server, file, "responses", {"input": "hi"})
    here = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.openai_url}
    done = command("status", str(file), **here)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file}: results: 0, answers from batches: 0, batches in progress: 1",
        f"batch_simulated_0 at {server.openai_url}, 2 requests: in_progress, 0 of 2 requests finished",
    ]
    done = command("cancel", str(file), **here)
    assert done.returncode == 0
    assert "cancelled, 0 of 2" in done.stdout
    assert done.stdout.endswith(
        "\nanswers received so far are kept: the next call of batch(), or of `fanmap run --batch`, collects them\n"
    )
    with pytest.raises(BatchError, match="was cancelled"):
        call()
    server.batches.script = BatchScript()
    assert len(call()) == 2


def test_anthropics(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "job.jsonl"
    body = {"max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    begin(server, file, "messages", body)
    done = command("status", str(file), ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=server.anthropic_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"msgbatch_simulated_0 at {server.url}/v1, 2 requests: in_progress, 0 of 2" in done.stdout


@pytest.mark.whole
def test_what_can_be_wrong(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "job.jsonl"
    begin(server, file, "responses", {"input": "hi"})
    done = command("status", str(file), OPENAI_API_KEY="secret")
    assert done.returncode == 1
    assert "its server is not the provider's own: set OPENAI_BASE_URL" in done.stdout
    done = command("status", str(file), OPENAI_BASE_URL=server.openai_url)
    assert "set OPENAI_API_KEY to ask the provider" in done.stdout
    done = command("status", str(tmp_path / "nothing"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such file" in done.stderr
    (tmp_path / "other").write_text("x,y\n1,2\n", encoding="utf-8")
    done = command("cancel", str(tmp_path / "other"))
    assert done.returncode == 2
    assert "is not a fanmap journal" in done.stderr


def test_damage_is_not_taken_for_an_end(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.jsonl"
    begin(server, file, "responses", {"input": "hi"})
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))  # as an editor may leave it
    assert batch("status", str(file)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("batches in progress: 0")
    assert re.fullmatch(r"\d damaged record\(s\) skipped: a batch that only they name is not listed", said[1])


@pytest.mark.parametrize(
    "said",
    [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        "HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n{}",
    ],
)
def test_what_is_no_answer_is_one_line(said: str) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(said.encode())

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as other:
        listener.settimeout(600)
        other.submit(answer)
        with pytest.raises(CommandError, match="the server cannot be reached"):
            _exchange(Call("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/v1/batches/b"), {})


@pytest.mark.parametrize("key", ["k\n", "k\u2026"])
def test_a_key_that_no_header_may_have_is_one_line(key: str) -> None:
    hand_in = HandIn("n", "openai", Place("https://api.openai.com/v1", "", "/v1/x"), 1, 0.0, (), "b")
    with pytest.raises(CommandError, match="OPENAI_API_KEY holds what no key does, such as a line break"):
        _headers(hand_in, {"OPENAI_API_KEY": key})


KEYS = {"OPENAI_API_KEY": "o", "AZURE_OPENAI_API_KEY": "z", "ANTHROPIC_API_KEY": "a"}


@pytest.mark.parametrize(
    ("provider", "root", "headers"),
    [
        ("openai", "https://api.openai.com/v1", {"authorization": "Bearer o"}),
        ("openai", "https://me.openai.azure.com/openai", {"api-key": "z"}),
        ("anthropic", "https://api.anthropic.com/v1", {"x-api-key": "a", "anthropic-version": "2023-06-01"}),
        ("openai", "http://api.openai.com/v1", None),
        ("openai", "https://api.openai.com.evil.com/v1", None),
        ("openai", "https://api.openai.com@evil.com/v1", None),
        ("anthropic", "https://api.openai.com/v1", None),
    ],
)
def test_a_key_goes_to_its_provider_alone(provider: Any, root: str, headers: Any) -> None:
    hand_in = HandIn("n", provider, Place(root, "", "/v1/x"), 1, 0.0, (), "b")
    if headers is None:
        with pytest.raises(CommandError, match="not the provider's own"):
            _headers(hand_in, KEYS)
    else:
        assert _headers(hand_in, KEYS) == headers
