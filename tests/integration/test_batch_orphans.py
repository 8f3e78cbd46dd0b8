"""Batches of a file that no item waits for any more: the next `batch` collects or closes them, and waits for none."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fanmap import BatchPending, BudgetExceeded, Limits, parallel_map
from fanmap._drive import clock
from fanmap._policy.journals.journal import Reading
from fanmap.testing import BatchScript, Reply, Request, Server, serve
from fanmap.types import BatchProgress, Usage

PROMPTS = ["a", "b", "c"]
BROKEN = list[str]()  # beginnings of paths that fail


def respond(request: Request) -> Reply | None:
    return Reply(503) if request.path.startswith(tuple(BROKEN)) else None


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    with serve(latency=0.0, respond=respond) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    BROKEN.clear()
    shared_server.reset()
    yield shared_server
    BROKEN.clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "job.jsonl"


@pytest.fixture
def options(server: Server, file: Path) -> dict[str, Any]:
    return {"resume": file, "poll": 0.001, "endpoints": (server.url,), "durable": False}


def of_openai(server: Server, calls: list[str]) -> Callable[..., Any]:
    def ask(prompt: str) -> str:
        calls.append(prompt)
        body = {"model": "m", "input": prompt, "max_output_tokens": 40}
        with httpx.Client(verify=False, timeout=120) as client:
            return client.post(f"{server.openai_url}/responses", json=body).raise_for_status().text

    return ask


def of_anthropic(server: Server, calls: list[str]) -> Callable[..., Any]:
    async def ask(prompt: str) -> str:
        calls.append(prompt)
        body = {"model": "c", "max_tokens": 9, "messages": [{"role": "user", "content": prompt}]}
        async with httpx.AsyncClient(verify=False, timeout=120) as client:
            return (await client.post(f"{server.url}/v1/messages", json=body)).raise_for_status().text

    return ask


MAKERS = pytest.mark.parametrize("make", [of_openai, of_anthropic])


def submit(ask: Any, server: Server, options: dict[str, Any]) -> None:
    server.batches.script = BatchScript(delay=math.inf)
    with pytest.raises(BatchPending):
        ask.batch(PROMPTS, **options, wait=0)


def pay_again(ask: Any, options: dict[str, Any]) -> list[str]:
    with pytest.warns(RuntimeWarning, match="paid for again"):
        return list(ask.map(PROMPTS, resume=options["resume"]))


def orphaned(make: Any, server: Server, options: dict[str, Any], limits: Limits | None = None) -> tuple[Any, list[str]]:
    """A function whose batch is under way, and the answers that `map` has got meanwhile; and where it tells its calls."""
    calls: list[str] = []
    ask = parallel_map(limits=limits or Limits(4))(make(server, calls))
    submit(ask, server, options)
    answers = pay_again(ask, options)
    calls.clear()
    ask.calls, ask.answers = calls, answers
    return ask, calls


def under_way(file: Path) -> int:
    return len(read(file).under_way)


def read(file: Path) -> Reading:
    reading = Reading()
    for line in file.read_bytes().splitlines(keepends=True):
        reading.add(line)
    return reading


def lines(server: Server) -> list[int]:
    return [len(batch.requests) for batch in server.batches.made]


@MAKERS
def test_it_is_collected_where_every_item_has_its_answer(
    make: Any, server: Server, options: dict[str, Any], file: Path
) -> None:
    ask, calls = orphaned(make, server, options)
    server.batches.script = BatchScript()
    seen: list[BatchProgress] = []
    assert ask.batch(PROMPTS, **options, progress=seen.append) == ask.answers
    assert (under_way(file), server.sent, lines(server)) == (0, 3, [3])
    assert len(calls) == 1  # as far as its first request, whose client can ask the provider
    assert seen[-1].summary is not None
    assert (seen[-1].summary.batches, seen[-1].summary.lines["answered"]) == (1, 3)
    assert ask.batch(PROMPTS, **options) == ask.answers
    assert len(calls) == 1


@MAKERS
def test_and_where_others_are_submitted(make: Any, server: Server, options: dict[str, Any], file: Path) -> None:
    ask, calls = orphaned(make, server, options)
    server.batches.script = BatchScript()
    assert ask.batch([*PROMPTS, "new"], **options)[:3] == ask.answers
    assert (under_way(file), server.sent, lines(server)) == (0, 3, [3, 1])
    assert calls == ["new", "new"]  # nobody else need run


@MAKERS
def test_nobody_waits_for_one_that_is_running(make: Any, server: Server, options: dict[str, Any], file: Path) -> None:
    ask, _ = orphaned(make, server, options)
    for _ in range(2):
        assert ask.batch(PROMPTS, **options) == ask.answers
        assert (under_way(file), server.sent, lines(server)) == (1, 3, [3])


@MAKERS
def test_one_that_was_cancelled_is_closed(make: Any, server: Server, options: dict[str, Any], file: Path) -> None:
    ask, _ = orphaned(make, server, options)
    server.batches.cancel(server.batches.made[0])
    assert ask.batch(PROMPTS, **options) == ask.answers
    assert under_way(file) == 0


def test_one_that_was_refused_too(server: Server, options: dict[str, Any], file: Path) -> None:
    ask, _ = orphaned(of_openai, server, options)
    server.batches.made[0].state = "failed"
    assert ask.batch(PROMPTS, **options) == ask.answers
    assert under_way(file) == 0


def test_lines_without_an_answer_are_not_asked_again(server: Server, options: dict[str, Any], file: Path) -> None:
    ask, _ = orphaned(of_openai, server, options)
    fates: dict[str, Any] = {"a": "expired", "b": Reply(500)}
    server.batches.script = BatchScript(line=lambda asked: fates.get(asked.prompt))
    seen: list[BatchProgress] = []
    assert ask.batch(PROMPTS, **options, progress=seen.append) == ask.answers
    assert (under_way(file), lines(server)) == (0, [3])
    assert seen[-1].summary is not None
    assert seen[-1].summary.lines == {"answered": 1, "asked again": 0, "failed": 1, "expired": 1}


@pytest.mark.parametrize("broken", ["/v1/batches", "/v1/files"])
def test_what_fails_leaves_it_for_the_next_call(
    broken: str, server: Server, options: dict[str, Any], file: Path
) -> None:
    ask, _ = orphaned(of_openai, server, options)
    server.batches.script = BatchScript()
    BROKEN.append(broken)
    assert ask.batch(PROMPTS, **{**options, "poll": 10_000}) == ask.answers  # and does not wait until it can be asked
    assert under_way(file) == 1
    BROKEN.clear()
    assert ask.batch(PROMPTS, **options) == ask.answers
    assert under_way(file) == 0


@MAKERS
@pytest.mark.parametrize(("made", "later", "left"), [(True, 0, 0), (False, 0, 1), (False, 100, 0)])
def test_one_whose_making_was_never_answered_is_looked_for(
    make: Any, made: bool, later: float, left: int,
    server: Server, options: dict[str, Any], file: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ask, _ = orphaned(make, server, options)
    kept = [line for line in file.read_bytes().splitlines(keepends=True) if b'"handed_in"' not in line]
    file.write_bytes(b"".join(kept))
    server.batches.script = BatchScript()
    if not made:
        server.batches.made.clear()
    wall = clock.wall
    monkeypatch.setattr(clock, "wall", lambda: wall() + later)
    assert ask.batch(PROMPTS, **options) == ask.answers
    if make is of_anthropic and made:  # one that is running has no results that say whose it is
        assert ask.batch(PROMPTS, **options) == ask.answers
    assert (under_way(file), server.sent) == (left, 3)


def test_another_account_does_not_close_one_that_it_cannot_see(
    server: Server, options: dict[str, Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ["one"]

    @parallel_map
    def ask(prompt: str) -> str:
        headers = {"authorization": f"Bearer {key[0]}"}
        with httpx.Client(verify=False, timeout=120, headers=headers) as client:
            body = {"model": "m", "input": prompt}
            return client.post(f"{server.openai_url}/responses", json=body).raise_for_status().text

    submit(ask, server, options)
    kept = [line for line in file.read_bytes().splitlines(keepends=True) if b'"handed_in"' not in line]
    file.write_bytes(b"".join(kept))
    server.batches.script = BatchScript()
    made = list(server.batches.made)
    made[0].id += "0"  # the next one has its number again
    server.batches.made.clear()  # the other account sees none of it
    wall = clock.wall
    monkeypatch.setattr(clock, "wall", lambda: wall() + 100)
    key[0] = "other"
    ask.batch(["d"], **options)
    assert (under_way(file), lines(server)) == (1, [1])
    server.batches.made[:] = made
    key[0] = "one"
    assert len(ask.batch(PROMPTS, **options)) == 3
    assert (under_way(file), lines(server)) == (0, [3])


def test_a_function_that_asks_elsewhere_first_sends_nothing_for_it(
    server: Server, options: dict[str, Any], file: Path
) -> None:
    one, sent = of_openai(server, []), list[str]()

    def ask(prompt: str) -> str:
        with httpx.Client(verify=False, timeout=120) as client:
            client.get(f"{server.url}/search")
        sent.append(prompt)
        return str(one(prompt))

    ask = parallel_map(ask)  # type: ignore[assignment]
    submit(ask, server, options)
    answers = pay_again(ask, options)
    sent.clear()
    server.batches.script = BatchScript()
    assert ask.batch(PROMPTS, **options) == answers  # type: ignore[attr-defined]
    assert (sent, under_way(file)) == ([], 1)


def test_nor_does_a_task_that_it_leaves_behind(server: Server, options: dict[str, Any], file: Path) -> None:
    streams, left, over = False, threading.Event(), threading.Event()
    left.set()

    async def late(prompt: str) -> str:
        try:
            return await later(prompt)
        finally:
            over.set()

    async def later(prompt: str) -> str:
        while not left.is_set():
            await asyncio.sleep(0.001)
        body = {"model": "m", "input": prompt, "stream": streams}
        async with httpx.AsyncClient(verify=False, timeout=120) as client:
            return (await client.post(f"{server.openai_url}/responses", json=body)).raise_for_status().text

    @parallel_map
    async def ask(prompt: str) -> str:
        return "".join(await asyncio.gather(of_anthropic(server, [])(prompt), late(prompt)))

    submit(ask, server, options)
    answers, sent = pay_again(ask, options), server.sent
    server.batches.script, streams = BatchScript(), True
    left.clear()
    over.clear()
    assert ask.batch(PROMPTS, **options) == answers
    left.set()
    assert over.wait(120)
    assert (server.sent, lines(server)) == (sent, [3, 3])


def test_without_an_input_nobody_is_asked(server: Server, options: dict[str, Any], file: Path) -> None:
    ask, calls = orphaned(of_openai, server, options)
    server.batches.script = BatchScript()
    assert ask.batch([], **options) == []
    assert (calls, under_way(file)) == ([], 1)


def price(model: str, usage: Usage) -> float:
    return usage.total * 0.01


def test_what_was_reserved_for_it_is_free_again(server: Server, options: dict[str, Any]) -> None:
    def limits() -> Limits:
        return Limits(4, max_spend=0.9, price=price)

    ask, _ = orphaned(of_openai, server, options, limits())  # 61.5 cents at most, 7.5 in fact; 15 cents for map
    with pytest.raises(BudgetExceeded):
        parallel_map(limits=limits())(of_openai(server, [])).batch(["new"], **options)
    server.batches.script = BatchScript()
    assert len(ask.with_options(limits=limits()).batch([*PROMPTS, "new"], **options)) == 4
