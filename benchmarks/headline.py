"""Ten thousand prompts to one account: how long, how many requests, what is lost. In virtual time.

    python -m benchmarks.headline [--prompts 10000] [--only WORD ...]

The server serves 64 calls at once and 3,000 a minute (50 together); it takes lognormal 0.8 s (sigma 0.6), answers 1 %
of the calls with 500 and drops 0.3 %. Beyond a limit it says 429, with Retry-After where that is about the minute.
Refused requests count (who keeps knocking never gets in), or not. The client is the real AsyncOpenAI, over a transport
that is this server.

The floor is the longer of what the minute allows for one request an item and its repeats, and of the served seconds
over the slots. A request beyond one an item is paid for in time; one that is lost, by whoever has to find it.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import random
import warnings
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib import metadata
from typing import Any

from benchmarks.measure import Table
from benchmarks.real_clients import http_library
from fanmap import Limits, Retry, parallel_map
from fanmap._drive import clock
from fanmap.testing import VirtualTime
from fanmap.testing._behaviour import Behaviour, Bucket

SLOTS, PER_SECOND, TOGETHER = 64, 50.0, 50.0
BEHAVIOUR = Behaviour(latency=0.8, sigma=0.6, failure_rates={500: 0.01, "drop": 0.003})

Ask = Callable[[int], Coroutine[Any, Any, str]]
Way = Callable[[Ask, int], Coroutine[Any, Any, object]]


def prompt_of(number: int) -> str:
    return f"Say hello to number {number}."


class Server:
    """The account behind the client's transport."""

    def __init__(self, library: Any, *, counts_refusals: bool) -> None:
        self._library = library
        self._counts_refusals = counts_refusals
        self._minute, self._in_flight = Bucket(60 * PER_SECOND, TOGETHER), 0
        self._attempts: dict[str, int] = {}
        self.requests = self.refused = 0

    async def __call__(self, request: Any) -> Any:
        self.requests += 1
        refusal = self._refusal(clock.now())
        if refusal is not None:
            self.refused += 1
            headers = {} if refusal == 0 else {"retry-after": f"{refusal:.3f}"}
            message = "Rate limit reached for requests" if refusal else "Too many concurrent requests"
            return self._library.Response(429, headers=headers, json={"error": {"message": message}})
        prompt = json.loads(await request.aread())["messages"][0]["content"]
        self._attempts[prompt] = attempt = self._attempts.get(prompt, 0) + 1
        status, seconds = BEHAVIOUR.draw(prompt, attempt)
        self._in_flight += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._in_flight -= 1
        if status == "drop":
            raise self._library.ReadError("the connection was closed", request=request)
        if status != 200:
            return self._library.Response(status, json={"error": {"message": "The server had an error"}})
        message = {"role": "assistant", "content": "hello"}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
        return self._library.Response(200, json=body)

    def _refusal(self, now: float) -> float | None:
        """Seconds that it names, 0: none; None: it is served."""
        wait = self._minute.take(now, forfeit=self._counts_refusals)
        if wait:
            return wait
        return 0.0 if self._in_flight >= SLOTS else None


def floor(prompts: int) -> float:
    """Seconds: no way can be faster."""
    requests, served = 0, 0.0
    for number in range(prompts):
        attempt, status = 0, 0
        while status != 200:
            attempt += 1
            found, seconds = BEHAVIOUR.draw(prompt_of(number), attempt)
            status = found if isinstance(found, int) else 0
            requests, served = requests + 1, served + seconds
    return max((requests - TOGETHER) / PER_SECOND, served / SLOTS)


# Ours: a line that a user writes


def ours(*at_once: Any, **limits: Any) -> Way:
    async def way(ask: Ask, prompts: int) -> object:
        account = Limits(*at_once, **limits)
        return await parallel_map(limits=account, retry=Retry())(ask).amap(range(prompts), return_exceptions=True)

    return way


# What people write


async def gather(ask: Ask, prompts: int) -> object:
    semaphore = asyncio.Semaphore(SLOTS)

    async def one(number: int) -> str:
        async with semaphore:
            return await ask(number)

    return await asyncio.gather(*map(one, range(prompts)), return_exceptions=True)


async def gather_with_tenacity(ask: Ask, prompts: int) -> object:
    import tenacity

    patient = tenacity.retry(
        wait=tenacity.wait_random_exponential(multiplier=1, max=60), stop=tenacity.stop_after_attempt(6), reraise=True
    )
    semaphore = asyncio.Semaphore(SLOTS)

    @patient
    async def one(number: int) -> str:
        async with semaphore:
            return await ask(number)

    return await asyncio.gather(*map(one, range(prompts)), return_exceptions=True)


async def aiometer_run_all(ask: Ask, prompts: int) -> object:
    import aiometer

    async def one(number: int) -> str | None:
        with suppress(Exception):  # the first would end it
            return await ask(number)
        return None

    jobs = [functools.partial(one, number) for number in range(prompts)]
    return await aiometer.run_all(jobs, max_at_once=SLOTS, max_per_second=PER_SECOND)


async def pyarallel_map(ask: Ask, prompts: int) -> object:
    import pyarallel

    def named(error: Exception) -> float | None:
        said = getattr(getattr(error, "response", None), "headers", {}).get("retry-after")
        return None if said is None else float(said)

    retry = pyarallel.Retry(attempts=6, wait_from=named)
    return await pyarallel.async_parallel_map(ask, list(range(prompts)), concurrency=SLOTS, retry=retry)


async def langchain_abatch(ask: Ask, prompts: int) -> object:
    from langchain_core.runnables import RunnableLambda

    runnable = RunnableLambda(ask).with_retry(stop_after_attempt=6)
    return await runnable.abatch(list(range(prompts)), config={"max_concurrency": SLOTS}, return_exceptions=True)


async def async_batch_llm_prompts(ask: Ask, prompts: int) -> object:
    import async_batch_llm

    async def invoke(prompt: Any, *, attempt: int, timeout: float, state: Any) -> Any:
        del attempt, timeout, state
        return async_batch_llm.CallOutcome(output=await ask(int(prompt)))

    strategy = async_batch_llm.CallableStrategy(invoke)
    return await async_batch_llm.process_prompts(strategy, [str(n) for n in range(prompts)], concurrency=SLOTS)


CLIENT = 2  # repeats of its own, as the client comes
WAYS: dict[str, tuple[Way, int, str]] = {
    # name: the way, the client's own repeats, the package that it needs
    'fanmap, Limits("auto")': (ours("auto"), CLIENT, ""),
    "fanmap, Limits(64)": (ours(64), CLIENT, ""),
    "fanmap, Limits(64, rpm=3000)": (ours(64, rpm=3_000), CLIENT, ""),
    "fanmap, its defaults": (ours(), CLIENT, ""),
    'fanmap, Limits("auto"), max_retries=0': (ours("auto"), 0, ""),
    "fanmap, Limits(64), max_retries=0": (ours(64), 0, ""),
    "fanmap, Limits(64, rpm=3000), max_retries=0": (ours(64, rpm=3_000), 0, ""),
    "gather with a semaphore of 64, max_retries=2": (gather, CLIENT, ""),
    "gather with a semaphore of 64, max_retries=10": (gather, 10, ""),
    "gather with a semaphore of 64, tenacity": (gather_with_tenacity, 0, "tenacity"),
    "aiometer, 64 and 50 a second": (aiometer_run_all, CLIENT, "aiometer"),
    "pyarallel, 6 attempts": (pyarallel_map, 0, "pyarallel"),
    "LangChain with_retry, 6 attempts": (langchain_abatch, 0, "langchain-core"),
    "async-batch-llm": (async_batch_llm_prompts, 0, "async-batch-llm"),
}


def play(way: Way, own: int, prompts: int, *, counts_refusals: bool) -> list[float]:
    """Seconds over the floor, requests an item, share refused, lost."""
    import openai

    library = http_library()
    answered: set[int] = set()
    random.seed(1)  # of the clients' own jitter
    with VirtualTime() as virtual, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = Server(library, counts_refusals=counts_refusals)
        transport = library.AsyncClient(transport=library.MockTransport(server))
        client = openai.AsyncOpenAI(api_key="k", max_retries=own, http_client=transport)

        async def ask(number: int) -> str:
            reply = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": prompt_of(number)}]
            )
            text = reply.choices[0].message.content or ""
            answered.add(number)
            return text

        virtual.run(way(ask, prompts))
        seconds = virtual.now()
    lost = prompts - len(answered)
    return [seconds / floor(prompts), server.requests / prompts, server.refused / server.requests, float(lost)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="ways whose name holds one of these")
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    for counts in (True, False):
        table = Table(
            "headline",
            f"{options.prompts} prompts, 64 slots, 3,000 a minute; refusals {'count' if counts else 'do not count'}; "
            f"the floor is {floor(options.prompts):.0f} s",
            ["seconds / floor", "requests / item", "refused", "lost"],
        )
        for name, (way, own, package) in WAYS.items():
            if not any(word in name for word in options.only):
                continue
            try:
                if package:
                    metadata.version(package)
                table.rows[name] = play(way, own, options.prompts, counts_refusals=counts)
            except metadata.PackageNotFoundError:
                table.rows[name] = f"{package} is not installed"
        print(table, flush=True)


if __name__ == "__main__":
    main()
