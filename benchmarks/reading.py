"""What reading responses costs, and what it is worth: the figures of `Limits(read_responses=)`.

python -m benchmarks.reading [--rounds 30] [--minutes 3] [--prompts 10000] [--instructions]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from benchmarks.measure import Table
from benchmarks.real_clients import http_library, server
from fanmap import BudgetExceeded, Limits, Rate, parallel_map, partial_results
from fanmap.testing import VirtualTime
from fanmap.testing._behaviour import Behaviour
from fanmap.testing._provider import Provider
from fanmap.testing._wire import DIALECTS
from fanmap.types import Usage

_BATCH = 100


def cost_of_the_hook(rounds: int, at_once: int) -> Table:
    """CPU of real AsyncOpenAI chat calls with and without it, batch by batch in turns: the lower quartile of each.

    Twice without: what these two differ by is the machine's noise.
    """
    import openai

    ways = {"without": False, "without, again": False, "read_responses=True": True}

    async def measured(url: str) -> dict[str, list[float]]:
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:

            async def call(number: int) -> str | None:
                reply = await client.chat.completions.create(
                    model="small", messages=[{"role": "user", "content": f"Say hello to number {number}."}]
                )
                return reply.choices[0].message.content

            asks = {
                name: parallel_map(limits=Limits(at_once, read_responses=reads))(call) for name, reads in ways.items()
            }
            for ask in asks.values():
                await ask.amap(range(_BATCH))
            for _ in range(rounds):
                for name, ask in asks.items():
                    began = time.process_time()
                    await ask.amap(range(_BATCH))
                    cpu[name].append((time.process_time() - began) / _BATCH * 1e6)
        return cpu

    with server() as url:
        found = asyncio.run(measured(url))
    table = Table(
        f"reading-{at_once}",
        f"CPU of an AsyncOpenAI chat call, {at_once} at once, {rounds} batches of {_BATCH} each in turns",
        ["CPU us/call", "CPU / without"],
    )
    low = {name: statistics.quantiles(costs, n=4)[0] for name, costs in found.items()}
    table.rows = {name: [cost, cost / low["without"]] for name, cost in low.items()}
    return table


_CALLS = """
import asyncio, sys, openai
from fanmap import Limits, parallel_map
url, calls, reads = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
async def main():
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600) as client:
        async def call(number):
            messages = [{"role": "user", "content": f"Say hello to number {number}."}]
            return (await client.chat.completions.create(model="small", messages=messages)).choices[0].message.content
        await parallel_map(limits=Limits(16, read_responses=reads))(call).amap(range(calls))
asyncio.run(main())
"""


def instructions_of_the_hook() -> Table:
    """The same in machine instructions, which are the same on a busy machine; by valgrind, which takes minutes."""

    def counted(url: str, calls: int, reads: bool) -> int:
        tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        command = [*tool, sys.executable, "-c", _CALLS, url, str(calls), str(reads)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        found = re.search(r"I +refs: +([0-9,]+)", said)
        assert found is not None, said
        return int(found[1].replace(",", ""))

    table = Table(
        "reading-instructions",
        "Instructions of an AsyncOpenAI chat call, 16 at once: 260 calls less 60",
        ["thousands", "/ without"],
    )
    with server() as url:
        found = {reads: (counted(url, 260, reads) - counted(url, 60, reads)) / 200 for reads in (False, True)}
    table.rows["without"] = [found[False] / 1e3, 1.0]
    table.rows["read_responses=True"] = [found[True] / 1e3, found[True] / found[False]]
    return table


def cost_by_itself(rounds: int) -> Table:
    """The same without a network between, so that what the hook takes can be told from what the machine does."""
    import httpx

    usage = {"prompt_tokens": 10, "completion_tokens": 990, "total_tokens": 1000}
    message = {"role": "assistant", "content": "hello " * 40}
    body = json.dumps({"model": "small", "choices": [{"index": 0, "message": message}], "usage": usage}).encode()
    headers = {"content-type": "application/json", **{f"x-other-{number}": "value" for number in range(12)}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=body))

    async def measured() -> dict[bool, list[float]]:
        cpu: dict[bool, list[float]] = {False: [], True: []}
        async with httpx.AsyncClient(transport=transport) as client:
            request = client.build_request("POST", "http://x/v1/chat/completions", json={})

            async def call(number: int) -> int:
                return (await client.send(request)).status_code

            asks = {reads: parallel_map(limits=Limits(8, read_responses=reads))(call) for reads in (False, True)}
            for _ in range(rounds * 4):
                for reads, ask in asks.items():
                    began = time.process_time()
                    await ask.amap(range(_BATCH * 4))
                    cpu[reads].append((time.process_time() - began) / _BATCH / 4 * 1e6)
        return cpu

    found = asyncio.run(measured())
    low = {reads: statistics.quantiles(costs, n=4)[0] for reads, costs in found.items()}
    table = Table("reading-itself", "The hook by itself: httpx without a network", ["CPU us/call"])
    table.rows["without"] = [low[False]]
    table.rows["read_responses=True"] = [low[True]]
    table.rows["the difference"] = [low[True] - low[False]]
    return table


def _answer(used: int) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": used - 10, "total_tokens": used}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


_ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Question"}]}


def tokens_of_text(minutes: int) -> Table:
    """tpm=60,000, and answers of 1,000 tokens whose text alone is returned; in virtual time, with the real client."""
    import openai

    library = http_library()
    transport = library.MockTransport(lambda _: library.Response(200, json=_answer(1000)))

    def functions(virtual: VirtualTime, starts: list[float]) -> dict[str, Callable[[int], Any]]:
        client = openai.OpenAI(api_key="k", http_client=library.Client(transport=transport))
        aclient = openai.AsyncOpenAI(api_key="k", http_client=library.AsyncClient(transport=transport))

        def reply(number: int) -> Any:
            starts.append(virtual.now())
            virtual.sleep(1.0)
            return client.chat.completions.create(**_ASKED)

        async def areply(number: int) -> Any:
            starts.append(virtual.now())
            await asyncio.sleep(1.0)
            return await aclient.chat.completions.create(**_ASKED)

        def text(number: int) -> Any:
            return reply(number).choices[0].message.content

        async def atext(number: int) -> Any:
            return (await areply(number)).choices[0].message.content

        return {"def, the reply": reply, "def, its text": text, "async, the reply": areply, "async, its text": atext}

    def held(name: str, reads: bool | None) -> tuple[float, float]:
        starts: list[float] = []
        with VirtualTime() as virtual, suppress(TimeoutError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = functions(virtual, starts)[name]
            ask = parallel_map(limits=Limits(64, tpm=60_000, read_responses=reads))(call)
            # Text whose size is not known runs away where nothing is read: a minute of it is enough.
            ask.map(range(100_000), deadline=60.0 * (minutes if reads is None else 1))
        later = [start for start in starts if start >= 60]
        ends, most = 0, 0
        for place, begin in enumerate(later):
            while ends < len(later) and later[ends] < begin + 60:
                ends += 1
            most = max(most, ends - place)
        return sum(start < 60 for start in starts) / 60, most / 60

    table = Table(
        "reading-tokens",
        f"tpm=60,000, answers of 1,000 tokens, 64 at once, {minutes} minutes: tokens started / limit",
        ["first minute", "worst later", "first, not read"],
    )
    for name in ("def, the reply", "def, its text", "async, the reply", "async, its text"):
        first, later = held(name, None)
        table.rows[name] = [first, later, held(name, False)[0]]
    return table


class _Server:
    """The loopback server's provider behind the real client, in virtual time: a bucket of requests, and slots."""

    def __init__(self, library: Any, **limits: Any) -> None:
        self.provider = Provider(Behaviour(**limits))
        self._library = library
        self._dialect = next(dialect for dialect in DIALECTS if dialect.path.endswith("/chat/completions"))

    async def __call__(self, _: Any) -> Any:
        with self.provider.serving("", tokens=1) as fate:
            if fate.delay:
                await asyncio.sleep(fate.delay)
        headers = self._dialect.headers(fate.index, self.provider.levels(), datetime.now(UTC))
        if fate.wait is not None:
            headers["retry-after"] = f"{fate.wait:.3f}"
        status = fate.status if isinstance(fate.status, int) else 500
        body = _answer(20) if status == 200 else self._dialect.error(fate, model="m")
        return self._library.Response(status, headers=headers, json=body)


def refusals(prompts: int) -> Table:
    """A server with 64 slots and 3,000 requests a minute; the client repeats by itself, as it comes."""
    import openai

    library = http_library()
    table = Table(
        "reading-refusals",
        f"{prompts} prompts, 64 slots, 3,000 a minute, max_concurrency='auto', AsyncOpenAI's own repeats at 2",
        ["requests / item", "refused", "lost", "minutes"],
    )
    for name, reads, own in (
        ("read", None, 2),
        ("not read", False, 2),
        ("not read, max_retries=0", False, 0),
    ):
        with VirtualTime() as virtual, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = _Server(library, latency=1.0, rpm=3_000, max_concurrency=64)
            transport = library.MockTransport(server)
            client = openai.AsyncOpenAI(
                api_key="k", max_retries=own, http_client=library.AsyncClient(transport=transport)
            )

            async def call(number: int, client: Any = client) -> str:
                return (await client.chat.completions.create(**_ASKED)).choices[0].message.content

            ask = parallel_map(limits=Limits("auto", read_responses=reads))(call)
            results = virtual.run(ask.amap(range(prompts), return_exceptions=True))
            provider = server.provider
            lost = sum(isinstance(result, BaseException) for result in results)
            table.rows[name] = [
                provider.sent / prompts,
                provider.refused / provider.sent,
                float(lost),
                virtual.now() / 60,
            ]
    return table


def followed(seconds: int) -> Table:
    """`rpm="auto"` at 6,000 a minute."""
    import openai

    library = http_library()
    with VirtualTime() as virtual, suppress(TimeoutError):
        server = _Server(library, latency=0.5, rpm=6_000)
        client = openai.AsyncOpenAI(
            api_key="k", http_client=library.AsyncClient(transport=library.MockTransport(server))
        )
        starts: list[float] = []

        async def call(number: int) -> str:
            starts.append(virtual.now())
            return (await client.chat.completions.create(**_ASKED)).choices[0].message.content

        ask = parallel_map(limits=Limits(256, rpm="auto"))(call)
        virtual.run(ask.amap(range(1_000_000), deadline=float(seconds)))
    table = Table("reading-followed", f'rpm="auto" at 6,000 a minute, {seconds} s', ["refused", "used from 10 s"])
    used = sum(10 <= start < seconds for start in starts) / (100 * (seconds - 10))
    table.rows["AsyncOpenAI"] = [server.provider.refused / server.provider.sent, used]
    return table


def _price(model: str, usage: Usage) -> float:
    return usage.total * 1e-5


def money() -> Table:
    """max_spend=5.00, and answers that cost a cent on average: 0.1 to 1.9 cents, in an order that no mean foresees."""
    import openai

    library = http_library()
    table = Table(
        "reading-money",
        "max_spend=5.00, answers of 0.1 to 1.9 cents, calls that take 0.5 to 1.5 s",
        ["spent / amount", "answers", "lost"],
    )
    for at_once in (1, 8, 64):
        chance = random.Random(at_once)

        def answer(_: Any, chance: random.Random = chance) -> Any:
            return library.Response(200, json=_answer(chance.randint(100, 1900)))

        with VirtualTime() as virtual:
            client = openai.AsyncOpenAI(
                api_key="k", http_client=library.AsyncClient(transport=library.MockTransport(answer))
            )
            account = Limits(at_once, max_spend=5.00, price=_price)

            async def call(number: int, client: Any = client, chance: random.Random = chance) -> str:
                await asyncio.sleep(chance.uniform(0.5, 1.5))
                return (await client.chat.completions.create(**_ASKED)).choices[0].message.content

            ask = parallel_map(limits=account)(call)
            try:
                virtual.run(ask.amap(range(100_000)))
            except BudgetExceeded as stop:
                kept = len(partial_results(stop))
                table.rows[f"{at_once} at once"] = [
                    stop.spent / stop.amount,
                    float(kept),
                    float(account.stats.started - kept),
                ]
        table.rows[f"{at_once} at once, cost an upper bound"] = _bounded(at_once)
    return table


def _bounded(at_once: int) -> list[float]:
    """The same answers under a total of the user's own, which charges each call the most that it may cost."""
    chance = random.Random(at_once)
    total = Rate(5.00, math.inf, cost=lambda _: 0.019, usage=lambda used: used * 1e-5)

    async def call(number: int) -> int:
        await asyncio.sleep(chance.uniform(0.5, 1.5))
        return chance.randint(100, 1900)

    with VirtualTime() as virtual:
        account = Limits(at_once, rate=total)
        try:
            virtual.run(parallel_map(limits=account)(call).amap(range(100_000)))
        except BudgetExceeded as stop:
            kept = len(partial_results(stop))
            return [stop.spent / stop.amount, float(kept), float(account.stats.started - kept)]
    raise AssertionError("it ended before the total did")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--instructions", action="store_true", help="count them, too; needs valgrind")
    options = parser.parse_args()
    began = time.perf_counter()
    print(tokens_of_text(options.minutes))
    print(followed(30))
    print(money())
    print(refusals(options.prompts))
    print(cost_by_itself(options.rounds))
    print(cost_of_the_hook(options.rounds, 16))
    if options.instructions:
        print(instructions_of_the_hook())
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
