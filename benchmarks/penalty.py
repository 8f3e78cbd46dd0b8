"""One call told to wait, and an account without credit: what a function over many items then costs.

The same two servers in virtual time (beside what people write today) and in real time over HTTP (beside
peers as installed). A server in a penalty refuses every call and says how long it still lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import random
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import tenacity

from fanmap import parallel_map
from fanmap.testing import Reply, Request, SimulatedAPIError, VirtualTime, serve

WORKERS, ITEMS, DOOMED = 16, 200, 20
PENALTY = 2.0  # seconds
PROVOKED_BY = 40  # the call that gets the penalty
PATIENCE = 45.0  # real seconds for a peer

Ask = Callable[[str], Awaitable[str]]
Way = Callable[[Ask, list[str]], Awaitable[list[Any]]]
Row = dict[str, Any]


class Penalised:
    """Decides about each call: None is an answer, a number is a refusal that names so many seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self.calls = 0
        self.too_early = 0  # calls within the penalty
        self._until = 0.0

    def __call__(self) -> float | None:
        with self._lock:
            now = self._now()
            self.calls += 1
            if self.calls == PROVOKED_BY:
                self._until = now + PENALTY
                return PENALTY
            if now < self._until:
                self.too_early += 1
                return self._until - now
            return None


# What people write today


async def bare_gather(ask: Ask, items: list[str]) -> list[Any]:
    return await asyncio.gather(*map(ask, items), return_exceptions=True)


async def _bounded(one: Ask, items: list[str]) -> list[Any]:
    semaphore = asyncio.Semaphore(WORKERS)

    async def within(item: str) -> str:
        async with semaphore:
            return await one(item)

    return await asyncio.gather(*map(within, items), return_exceptions=True)


async def semaphore_and_tenacity(ask: Ask, items: list[str]) -> list[Any]:
    """As OpenAI's cookbook has it."""
    again = tenacity.retry(wait=tenacity.wait_random_exponential(min=1, max=60), stop=tenacity.stop_after_attempt(6))
    return await _bounded(again(ask), items)


async def semaphore_and_retry_after(ask: Ask, items: list[str]) -> list[Any]:
    """Each call obeys the wait that it was told itself."""

    async def one(item: str) -> str:
        for _ in range(5):
            try:
                return await ask(item)
            except Exception as error:
                if getattr(error, "status_code", None) != 429:
                    raise
                response: Any = getattr(error, "response", None)
                await asyncio.sleep(float(response.headers.get("retry-after", 1.0)))
        return await ask(item)

    return await _bounded(one, items)


async def fanmap_unconfigured(ask: Ask, items: list[str]) -> list[Any]:
    return await parallel_map(max_concurrency=WORKERS)(ask).amap(items, return_exceptions=True)


TODAY: dict[str, Way] = {
    "bare gather": bare_gather,
    "gather, semaphore, tenacity": semaphore_and_tenacity,
    "gather, semaphore, own Retry-After": semaphore_and_retry_after,
    "fanmap": fanmap_unconfigured,
}


def spent_error() -> SimulatedAPIError:
    body = {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
    return SimulatedAPIError("You exceeded your current quota", 429, {}, body)


def penalty_table(seeds: int = 20) -> dict[str, Row]:
    """Virtual time; answers take 0.5 s in the median."""
    return {name: _medians([_penalty_run(way, seed) for seed in range(seeds)]) for name, way in TODAY.items()}


def _medians(rows: list[Row]) -> Row:
    return {head: statistics.median(row[head] for row in rows) for head in rows[0]}


def _penalty_run(way: Way, seed: int) -> Row:
    chance = random.Random(seed)
    tenacity_chance = random.getstate()
    random.seed(seed)  # tenacity draws from it
    try:
        with VirtualTime() as virtual:
            server = Penalised(virtual.now)

            async def ask(item: str) -> str:
                wait = server()
                if wait is not None:
                    await asyncio.sleep(0.02)
                    raise SimulatedAPIError("slow down", 429, {"retry-after": str(wait)}, {"code": "slow_down"})
                await asyncio.sleep(0.5 * chance.lognormvariate(0.0, 0.6))
                return item

            found = virtual.run(_await(way(ask, [str(number) for number in range(ITEMS)])))
            return _row(server, found, virtual.now())
    finally:
        random.setstate(tenacity_chance)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _row(server: Penalised, found: list[Any], seconds: float) -> Row:
    return {
        "calls in the penalty": server.too_early,
        "calls an item": server.calls / ITEMS,
        "seconds": round(seconds, 2),
        "items lost": ITEMS - sum(isinstance(one, str) for one in found),
    }


def spent_table() -> dict[str, Row]:
    """Virtual time; every call is told that the account is spent, after 0.3 s."""
    table: dict[str, Row] = {}
    for name, way in TODAY.items():
        calls = 0

        async def ask(item: str) -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0.3)
            raise spent_error()

        with VirtualTime() as virtual:
            virtual.run(_await(way(ask, [str(number) for number in range(DOOMED)])))
            table[name] = {"calls": calls, "seconds": round(virtual.now(), 2)}
    return table


# Peers, in real time


def _asks(client: Any) -> Ask:
    async def ask(prompt: str) -> str:
        reply = await client.chat.completions.create(model="small", messages=[{"role": "user", "content": prompt}])
        return reply.choices[0].message.content or ""

    return ask


async def pyarallel_as_it_comes(ask: Ask, items: list[str]) -> list[Any]:
    return await _pyarallel(ask, items, {})


async def pyarallel_with_a_limiter(ask: Ask, items: list[str]) -> list[Any]:
    import pyarallel

    return await _pyarallel(ask, items, {"rate_limit": pyarallel.Limiter(pyarallel.RateLimit(100, "second"))})


async def _pyarallel(ask: Ask, items: list[str], more: dict[str, Any]) -> list[Any]:
    import openai
    import pyarallel

    retry = pyarallel.Retry.for_http(on=(openai.APIStatusError,))
    result = await pyarallel.async_parallel_map(ask, items, concurrency=WORKERS, retry=retry, **more)
    return [value for _, value in result.successes()]


async def batch_llm_as_it_comes(ask: Ask, items: list[str]) -> list[Any]:
    return await _batch_llm(ask, items, {})


async def batch_llm_told_the_wait(ask: Ask, items: list[str]) -> list[Any]:
    return await _batch_llm(ask, items, {"cooldown_seconds": PENALTY, "slow_start_items": 0})


async def _batch_llm(ask: Ask, items: list[str], rate_limit: dict[str, Any]) -> list[Any]:
    import async_batch_llm as abl

    async def invoke(prompt: str, *, attempt: int, timeout: float, state: Any) -> Any:
        return abl.CallOutcome(await ask(prompt))

    strategy = abl.CallableStrategy(invoke, error_classifier=abl.OpenAIErrorClassifier())
    config = abl.ProcessorConfig(concurrency=WORKERS, rate_limit=abl.RateLimitConfig(**rate_limit))
    batch = await abl.process_prompts(strategy, items, config=config)
    return [result.output for result in batch.results if result.success]


PEERS: dict[str, tuple[str, Way]] = {
    "pyarallel, for_http": ("pyarallel", pyarallel_as_it_comes),
    "pyarallel, for_http and Limiter": ("pyarallel", pyarallel_with_a_limiter),
    "async-batch-llm": ("async-batch-llm", batch_llm_as_it_comes),
    "async-batch-llm, told 2 s": ("async-batch-llm", batch_llm_told_the_wait),
}


def peers_table() -> dict[str, Row]:
    """Real time, the real openai client with its own retries off; a peer that is not installed is left out."""
    table: dict[str, Row] = {}
    for name, way in TODAY.items():
        table[name] = {**_peer_penalty(way), **_peer_spent(way)}
    for name, (package, way) in PEERS.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(package)
            table[f"{name} ({version})"] = {**_peer_penalty(way), **_peer_spent(way)}
    return table


def _peer_penalty(way: Way) -> Row:
    penalised = Penalised(time.monotonic)

    def respond(_: Request) -> Reply | None:
        wait = penalised()
        return None if wait is None else Reply(429, retry_after=f"{wait:.3f}", code="rate_limit_exceeded")

    with serve(latency=0.2, seed=1, respond=respond) as server:
        found, seconds = _timed(way, server, ITEMS)
    row = _row(penalised, found, seconds)
    if seconds >= PATIENCE:  # what it would have finished later is not lost
        row["seconds"], row["items lost"] = f"> {PATIENCE:g}", None
    return row


def _peer_spent(way: Way) -> Row:
    def respond(_: Request) -> Reply:
        return Reply(429, code="insufficient_quota", delay=0.1)

    with serve(respond=respond) as server:
        _timed(way, server, DOOMED)
        return {"calls for 20 items, no credit": server.sent}


def _timed(way: Way, server: Any, items: int) -> tuple[list[Any], float]:
    import openai

    found: list[Any] = []

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
            prompts = [f"item {number}" for number in range(items)]
            with contextlib.suppress(TimeoutError):
                found.extend(await asyncio.wait_for(way(_asks(client), prompts), PATIENCE))

    began = time.monotonic()
    asyncio.run(main())
    return found, time.monotonic() - began
