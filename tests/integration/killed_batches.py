"""A batch job that is killed at a given step, again and again, each time in a fork of a process that has imported all.

Run by `test_killed_batches`: arguments are the server's URL, a seed, how many kills, and a directory. Prints a line of
JSON for each job, and leaves a line for each kill in SEED.places there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from fanmap import (
    Limits,
    _batch,  # noqa: F401 (so that every fork has it)
    parallel_map,
)
from fanmap._drive.batch import clients, senders
from fanmap._drive.journals import journal_file
from fanmap._policy.batch.wire import Call

URL, SEED, KILLS, DIRECTORY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
STEPS_AT_MOST = 90
PLACES = [
    f"{when} {what}"
    for when in ("before", "after")
    for what in (
        "intent", "handed_in", "answer", "over", "result", "upload", "creation", "poll", "list", "download", "replay",
    )
]  # fmt: skip


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(URL + path, json=body, headers={"authorization": "Bearer k"})
    answer.raise_for_status()
    return answer.json()  # type: ignore[no-any-return]


def openai_body(prompt: str, model: str) -> dict[str, Any]:
    return {"model": model, "input": prompt}


def anthropic_body(prompt: str) -> dict[str, Any]:
    return {"model": "c", "max_tokens": 10, "messages": [{"role": "user", "content": prompt}]}


@parallel_map
def blocking(prompt: str) -> str:
    with httpx.Client(verify=False, timeout=120) as client:
        first = post(client, "/v1/responses", openai_body(prompt, f"m{len(prompt) % 2}"))
        text = first["output"][0]["content"][0]["text"]
        second = post(client, "/v1/messages", anthropic_body(f"{text}!"))
    return second["content"][0]["text"]  # type: ignore[no-any-return]


# Enough for each of six answers once, at half of two dollars: one that were counted twice would end it.
@parallel_map(limits=Limits(4, max_spend=6.0, price=lambda model, usage: 2.0))
def bounded(prompt: str) -> str:
    def asked(text: str) -> str:
        body = {**openai_body(text, "m"), "max_output_tokens": 10}
        return post(client, "/v1/responses", body)["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    with httpx.Client(verify=False, timeout=120) as client:
        return asked(f"{asked(prompt)}!")


@parallel_map
async def awaiting(prompt: str) -> str:
    async def one(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post(URL + path, json=body, headers={"authorization": "Bearer k"})
        answer.raise_for_status()
        return answer.json()  # type: ignore[no-any-return]

    async with httpx.AsyncClient(verify=False, timeout=120) as client:
        both = await asyncio.gather(
            one("/v1/responses", openai_body(prompt, "m")), one("/v1/messages", anthropic_body(prompt))
        )
        text = both[0]["output"][0]["content"][0]["text"] + both[1]["content"][0]["text"]
        last = await one("/v1/responses", openai_body(text, "m"))
    return last["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]


def place_of(line: bytes) -> str:
    """What a line of the file is of: a step of the job, or a result."""
    said: dict[str, Any] = json.loads(line)
    return str(said.get("kind", "result"))


def step_of(call: Call) -> str:
    """What a request to a batch interface is for."""
    path, _, query = call.url.removeprefix(URL).partition("?")
    if call.method == "POST":
        return "upload" if path == "/v1/files" else "creation"
    return "list" if "limit=" in query else "download" if path.endswith(("/content", "/results")) else "poll"


class Death:
    """Comes at the so-many-th step: before a write, a request or a replayed answer, after it, or half-way in a write.

    Args:
        step: counts from 1; below that it never comes.
        place: the only steps that count; "": all do.
        torn: a write is cut in the middle.
    """

    def __init__(self, step: int, place: str, *, torn: bool) -> None:
        self.left = step
        self.place = place
        self.torn = torn
        self.log = os.open(DIRECTORY / f"{SEED}.places", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def passes(self, place: str, half: Callable[[], object] | None = None) -> None:
        if self.place in ("", place):
            self.left -= 1
        if self.left == 0:
            if half is not None and self.torn:
                half()
                place = place.replace("before", "within")
            os.write(self.log, f"{place}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def lies_in_wait(self) -> None:
        append, respond = journal_file.append, clients.respond

        def appending(fd: int, line: bytes) -> None:
            place = place_of(line)
            self.passes(f"before {place}", lambda: os.write(fd, line[: len(line) // 2]))
            append(fd, line)
            self.passes(f"after {place}")

        def responding(*args: Any) -> Any:
            self.passes("before replay")
            response = respond(*args)
            self.passes("after replay")
            return response

        journal_file.append, clients.respond = appending, responding
        for kind in (senders._Client, senders._AsyncClient):  # pyright: ignore[reportPrivateUsage]
            self._wrap(kind)

    def _wrap(self, kind: Any) -> None:
        send = kind.send

        def sending(client: Any, call: Call, headers: Any) -> Any:
            self.passes(f"before {step_of(call)}")
            came = send(client, call, headers)
            self.passes(f"after {step_of(call)}")
            return came

        async def sending_async(client: Any, call: Call, headers: Any) -> Any:
            self.passes(f"before {step_of(call)}")
            came = await send(client, call, headers)
            self.passes(f"after {step_of(call)}")
            return came

        kind.send = sending_async if kind.is_async else sending


def run(name: str, prompts: list[str], file: Path) -> list[str]:
    ask: Any = {"blocking": blocking, "bounded": bounded, "awaiting": awaiting}[name]
    return ask.batch(prompts, resume=file, poll=0.001, endpoints=(f"{URL}/v1",), durable=False)  # type: ignore[no-any-return]


def main() -> None:
    dice = random.Random(SEED)
    kills = job = 0
    while kills < KILLS:
        job += 1
        name = dice.choice(["blocking", "bounded", "awaiting"])
        prompts = [f"{SEED} {job} {'x' * n}" for n in range(3)]
        file = DIRECTORY / f"{SEED}-{job}.jsonl"
        mine = 0
        while True:
            # Anywhere in the job; or somewhere in particular, for most steps are a few kinds'.
            where = dice.choice(["", dice.choice(PLACES)])
            step, torn = dice.randint(1, 4 if where else STEPS_AT_MOST), dice.random() < 0.5
            child = os.fork()
            if child == 0:
                code = 3
                try:
                    Death(step if mine < 12 else -1, where, torn=torn).lies_in_wait()
                    answers = run(name, prompts, file)
                    (DIRECTORY / f"{SEED}-{job}.out").write_text(json.dumps(answers), encoding="utf-8")
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                mine += 1
                kills += 1
                continue
            if os.WEXITSTATUS(status):
                sys.exit(f"job {job} of seed {SEED}: the call failed")
            break
        answers = json.loads((DIRECTORY / f"{SEED}-{job}.out").read_text(encoding="utf-8"))
        print(json.dumps({"name": name, "prompts": prompts, "answers": answers, "kills": mine}), flush=True)


main()
