"""What type checkers see of right code. Read by them, never run."""

# pyright: strict

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, TextIO, assert_type

import tenacity
from aiolimiter import AsyncLimiter
from typing_extensions import Unpack

from fanmap import (
    Adaptive,
    AsyncParallelFunction,
    Limits,
    Outcome,
    ParallelFunction,
    Rate,
    Retry,
    Verdict,
    gather_bounded,
    parallel_map,
    partial_results,
    to_async,
    to_sync,
)
from fanmap.types import JournalOptions, Results, RunOptions, RunStats, Stats, Summary


@parallel_map
def bare(prompt: str, *, model: str = "small") -> int:
    return len(prompt + model)


@parallel_map(max_concurrency=16, rpm=500, tpm=200_000, timeout=30, retry=Retry(attempts=2))
def ask(prompt: str, *, model: str = "small") -> int:
    return len(prompt + model)


@parallel_map(limits=Limits(max_concurrency="auto"))
async def aask(prompt: str, *, model: str = "small") -> int:
    return len(prompt + model)


# The function's own signature


def signatures() -> None:
    assert_type(bare("a"), int)
    assert_type(ask("a", model="large"), int)
    as_before: Callable[[str], int] = ask
    bare_as_before: Callable[[str], int] = bare
    awaited_as_before: Callable[[str], Coroutine[Any, Any, int]] = aask
    print(as_before, bare_as_before, awaited_as_before)


async def awaited() -> None:
    assert_type(await aask("a"), int)
    assert_type(await aask("a", model="large"), int)
    both = asyncio.gather(aask("a"), asyncio.create_task(aask("b")))
    assert_type(await both, tuple[int, int])


# The element type of every way


def blocking(prompts: list[str], either: bool) -> None:
    assert_type(ask.map(prompts), list[int])
    assert_type(aask.map(prompts, max_concurrency=4, deadline=3.0, progress=True), list[int])
    assert_type(ask.map(prompts, return_exceptions=False), list[int])
    assert_type(ask.map(prompts, return_exceptions=True), list[int | BaseException])
    assert_type(ask.map(prompts, return_exceptions=either), list[int | BaseException])
    assert_type(ask.map([("a",), {"prompt": "b"}], unpack=True), list[int])
    assert_type(ask.imap(iter(prompts)), Results[int])
    assert_type(ask.imap(prompts, return_exceptions=True, max_failures=3), Results[int | BaseException])
    assert_type(ask.map(prompts, return_exceptions=True, max_failures=3), list[int | BaseException])
    assert_type(ask.as_completed(prompts, max_failures=3), Results[Outcome[int]])
    assert_type(ask.as_completed(prompts), Results[Outcome[int]])
    for answer in aask.imap(prompts):
        assert_type(answer, int)
    with ask.as_completed(prompts) as outcomes:
        assert_type(outcomes.stats, RunStats)
        for outcome in outcomes:
            assert_type(outcome, Outcome[int])
            assert_type(outcome.result(), int)
            assert_type(outcome.value, int | None)
            assert_type(outcome.error, BaseException | None)
            assert_type(outcome.seconds, float)
    lazily: Iterator[int] = ask.imap(prompts)
    print(lazily)


def with_options_of_its_own(prompts: list[str], **options: Unpack[RunOptions]) -> list[int]:
    return ask.map(prompts, **options)


with_options_of_its_own(["a"], deadline=3.0, resume="answers.jsonl", version=2)


async def awaiting(prompts: AsyncIterator[str], either: bool) -> None:
    assert_type(await aask.amap(prompts), list[int])
    assert_type(await ask.amap(["a"]), list[int])
    assert_type(await aask.amap(prompts, return_exceptions=True), list[int | BaseException])
    assert_type(await aask.amap(prompts, return_exceptions=either), list[int | BaseException])
    async for answer in ask.imap(prompts):
        assert_type(answer, int)
    async with aask.as_completed(prompts) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome[int])


def wider(outcome: Outcome[int], results: Results[int], function: ParallelFunction[[str], int]) -> None:
    # What is only ever read may be read as something wider.
    wider_outcome: Outcome[int | str] = outcome
    wider_results: Results[int | str] = results
    wider_function: ParallelFunction[[str], int | str] = function
    print(wider_outcome, wider_results, wider_function)


# Streams: the items of a run are lists of their chunks


@parallel_map
def tell(prompt: str) -> Iterator[str]:
    yield prompt


@parallel_map(max_concurrency=4)
async def atell(prompt: str) -> AsyncIterator[str]:
    yield prompt


@parallel_map
def generates(prompt: str) -> Generator[str, None, None]:
    yield prompt


@parallel_map
async def agenerates(prompt: str) -> AsyncGenerator[str, None]:
    yield prompt


@parallel_map
async def opens(prompt: str) -> AsyncIterator[bytes]:  # and returns it
    return (word.encode() async for word in atell(prompt))


def streams(prompts: list[str], either: bool) -> None:
    kinds: tuple[ParallelFunction[[str], Iterator[str]], ParallelFunction[[str], AsyncIterator[str]]] = tell, atell
    assert_type(tell("a"), Iterator[str])
    assert_type(atell("a"), AsyncIterator[str])
    assert_type(tell.map(prompts), list[list[str]])
    assert_type(tell.map(prompts, return_exceptions=True, max_failures=2), list[list[str] | BaseException])
    assert_type(tell.map(prompts, return_exceptions=either), list[list[str] | BaseException])
    assert_type(generates.map(prompts, deadline=3.0), list[list[str]])
    assert_type(atell.map(prompts), list[list[str]])
    assert_type(tell.imap(iter(prompts)), Results[list[str]])
    assert_type(agenerates.imap(prompts, return_exceptions=True), Results[list[str] | BaseException])
    assert_type(tell.as_completed(prompts), Results[Outcome[list[str]]])
    assert_type(opens.as_completed(prompts, resume="answers.jsonl"), Results[Outcome[list[bytes]]])
    assert_type(tell.stream(prompts), Results[tuple[int, str]])
    assert_type(atell.stream(prompts, return_exceptions=True), Results[tuple[int, str | BaseException]])
    assert_type(
        opens.stream(prompts, return_exceptions=either, deadline=3.0), Results[tuple[int, bytes | BaseException]]
    )
    assert_type(tell.with_options(timeout=3.0).map(prompts), list[list[str]])
    assert_type(tell.partial("a").stream(prompts), Results[tuple[int, str]])
    for index, word in generates.stream(prompts):
        assert_type((index, word), tuple[int, str])
    print(kinds)


async def awaited_streams(prompts: AsyncIterator[str]) -> None:
    assert_type(await atell.amap(prompts), list[list[str]])
    assert_type(await tell.amap(["a"]), list[list[str]])
    assert_type(await opens.amap(["a"], return_exceptions=True), list[list[bytes] | BaseException])
    assert_type(await opens("a"), AsyncIterator[bytes])
    async for index, word in agenerates.stream(prompts):
        assert_type((index, word), tuple[int, str])


class Teller:
    @parallel_map
    def tell(self, prompt: str) -> Iterator[str]:
        yield prompt

    @parallel_map
    @staticmethod
    async def atell(prompt: str) -> AsyncIterator[str]:
        yield prompt


def methods_that_stream(teller: Teller, prompts: list[str]) -> None:
    assert_type(teller.tell("a"), Iterator[str])
    assert_type(teller.tell.map(prompts), list[list[str]])
    assert_type(teller.atell.stream(prompts), Results[tuple[int, str]])


# What is no stream, and what says nothing, is a result as it is


def opened(path: str) -> TextIO:
    return Path(path).open()


def maybe(prompt: str) -> Iterator[str] | None:
    return iter(prompt) if prompt else None


async def untyped(prompt: str) -> Any:
    return prompt


def in_general(function: ParallelFunction[[str], Any], prompts: list[str]) -> None:
    assert_type(parallel_map(opened).map(prompts), list[TextIO])
    assert_type(parallel_map(opened).as_completed(prompts), Results[Outcome[TextIO]])
    assert_type(parallel_map(maybe).map(prompts), list[Iterator[str] | None])
    assert_type(parallel_map(untyped).map(prompts), list[Any])
    assert_type(function.map(prompts), list[Any])
    assert_type(function.map(prompts, return_exceptions=True), list[Any | BaseException])
    assert_type(function.imap(prompts), Results[Any])
    assert_type(function.as_completed(prompts), Results[Outcome[Any]])


# Methods: self is dropped


class Client:
    account = Limits(8)

    @parallel_map
    def ask(self, prompt: str, *, model: str = "small") -> int:
        return len(prompt + model)

    @parallel_map(limits=account)
    async def aask(self, prompt: str) -> int:
        return len(prompt)

    async def several(self, prompts: list[str]) -> list[int]:
        assert_type(self.ask("a", model="large"), int)
        assert_type(self.ask.map(prompts), list[int])
        assert_type(await self.aask("a"), int)
        return await self.aask.amap(prompts)


def methods(client: Client, prompts: list[str]) -> None:
    assert_type(client.ask("a"), int)
    assert_type(client.ask.map(prompts), list[int])
    assert_type(client.ask.as_completed(prompts), Results[Outcome[int]])
    assert_type(client.aask.map(prompts), list[int])
    assert_type(Client.ask(client, "a"), int)
    bound: Callable[[str], int] = client.ask
    unbound: Callable[[Client, str], int] = Client.ask
    print(bound, unbound)


# Class methods and static methods: every run, whatever stands on which side (a direct call: see wrong.py)


class Service:
    @parallel_map
    @classmethod
    def ask(cls, prompt: str, *, model: str = "small") -> int:
        return len(prompt + model)

    @parallel_map(max_concurrency=4)
    @classmethod
    async def aask(cls, prompt: str) -> int:
        return len(prompt)

    @parallel_map
    @staticmethod
    def count(prompt: str) -> int:
        return len(prompt)

    @parallel_map(max_concurrency=4)
    @staticmethod
    async def acount(prompt: str) -> int:
        return len(prompt)


async def class_and_static_methods(service: Service, prompts: list[str]) -> None:
    assert_type(Service.ask.map(prompts), list[int])
    assert_type(Service.ask.map(prompts, return_exceptions=True), list[int | BaseException])
    assert_type(service.ask.imap(prompts), Results[int])
    assert_type(await service.ask.amap(prompts), list[int])
    assert_type(Service.aask.map(prompts), list[int])
    assert_type(await service.aask.amap(prompts), list[int])
    assert_type(service.aask.as_completed(prompts), Results[Outcome[int]])
    assert_type(Service.count("a"), int)
    assert_type(Service.count.map(prompts), list[int])
    assert_type(service.count.map(prompts), list[int])
    assert_type(await Service.acount("a"), int)
    assert_type(await service.acount.amap(prompts), list[int])
    assert_type(Service.ask.partial(model="large").map(prompts), list[int])
    as_before: Callable[[str], int] = Service.count
    print(as_before)


# Everything else that can be decorated


class Callables:
    def __call__(self, prompt: str) -> int:
        return len(prompt)


class AsyncCallables:
    async def __call__(self, prompt: str) -> int:
        return len(prompt)


def other_functions(prompts: list[str]) -> None:
    assert_type(parallel_map(Callables())("a"), int)
    assert_type(parallel_map(Callables()).map(prompts), list[int])
    assert_type(parallel_map(max_concurrency=2)(AsyncCallables()).map(prompts), list[int])
    assert_type(parallel_map(functools.partial(len)).map(prompts), list[int])
    assert_type(parallel_map(len)("a"), int)
    assert_type(parallel_map(str.upper, max_concurrency=4).map(prompts), list[str])


# Copies


def copies(prompts: list[str]) -> None:
    assert_type(ask.partial(model="large").map(prompts), list[int])
    assert_type(aask.partial(model="large").map(prompts), list[int])
    other = ask.with_options(max_concurrency=4, timeout=3.0)
    assert_type(other("a", model="large"), int)
    assert_type(aask.with_options(retry=False).map(prompts), list[int])
    assert_type(ask.with_options(max_concurrency=None, retry=None, timeout=None, limits=None).map(prompts), list[int])
    assert_type(ask.limits, Limits)
    assert_type(aask.stats, Stats)
    kinds: tuple[ParallelFunction[..., int], AsyncParallelFunction[..., int]] = ask, aask
    print(kinds)


# gather_bounded, as typeshed has asyncio.gather


async def number() -> int:
    return 1


async def text() -> str:
    return ""


async def truth() -> bool:
    return True


async def gathered(
    either: bool, many: list[Coroutine[Any, Any, int]], endless: AsyncIterator[Callable[[], Any]]
) -> None:
    assert_type(await gather_bounded(number()), tuple[int])
    assert_type(await gather_bounded(number(), text()), tuple[int, str])
    assert_type(await gather_bounded(number(), text, truth(), max_concurrency=2), tuple[int, str, bool])
    assert_type(await gather_bounded(number(), text(), text(), text()), tuple[int, str, str, str])
    assert_type(await gather_bounded(number, text, text, text, text), tuple[int, str, str, str, str])
    assert_type(
        await gather_bounded(number(), text(), number(), text(), number(), truth()),
        tuple[int, str, int, str, int, bool],
    )
    seven = await gather_bounded(number(), number(), number(), number(), number(), number(), number(), rpm=60)
    assert_type(seven, list[int])
    assert_type(await gather_bounded(*[number() for _ in range(3)], limits=Limits(4)), list[int])
    assert_type(await gather_bounded(*[number for _ in range(3)], retry=Retry()), list[int])
    assert_type(await gather_bounded(number() for _ in range(3)), list[int])
    assert_type(await gather_bounded([number for _ in range(3)]), list[int])
    assert_type(await gather_bounded(many, return_exceptions=True), list[int | BaseException])
    assert_type(await gather_bounded(endless), list[Any])
    assert_type(await gather_bounded(number(), return_exceptions=True), tuple[int | BaseException])
    assert_type(
        await gather_bounded(number(), text(), return_exceptions=True), tuple[int | BaseException, str | BaseException]
    )
    assert_type(
        await gather_bounded(number(), text(), return_exceptions=either),
        tuple[int | BaseException, str | BaseException],
    )
    assert_type(await gather_bounded(*many, return_exceptions=True), list[int | BaseException])
    assert_type(await gather_bounded(aask("a"), asyncio.create_task(text())), tuple[int, str])
    assert_type(await gather_bounded(number(), max_concurrency="auto"), tuple[int])
    assert_type(await gather_bounded(many, max_concurrency=Adaptive(4)), list[int])
    first, second = await gather_bounded(number(), text())
    assert_type(first, int)
    assert_type(second, str)


# The bridge


@to_sync
async def blocking_version(prompt: str, *, model: str = "small") -> int:
    return len(prompt + model)


@to_async
def awaitable_version(prompt: str, *, model: str = "small") -> int:
    return len(prompt + model)


async def bridged() -> None:
    assert_type(blocking_version("a", model="large"), int)
    assert_type(await awaitable_version("a", model="large"), int)
    assert_type(to_sync(aask)("a"), int)
    assert_type(await to_async(ask)("a", model="large"), int)


# Settings


def tokens_of(prompt: str, *, model: str = "small") -> int:
    return len(prompt + model)


def settings(error: Exception) -> None:
    limits = Limits(
        Adaptive(start=4),
        rate=[Rate(10, per=1.0, cost=tokens_of, usage=lambda reply: reply.total), AsyncLimiter(10)],
        classify=lambda failure: Verdict("rate", 2.0) if isinstance(failure, ValueError) else None,
    )
    Retry(
        on=tenacity.retry_if_result(lambda answer: answer is None) | tenacity.retry_if_exception_type(ValueError),
        wait=tenacity.wait_exponential() + tenacity.wait_random(0, 1),
        stop=tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(10),
    )
    Retry(on=(ValueError, TypeError), wait=0)
    with limits:
        assert_type(partial_results(error), dict[int, Any])


async def blocks(limits: Limits) -> None:
    async with limits:
        pass


def shown(stats: RunStats) -> None:
    print(stats.done, stats.total)


ask.map(["a"], progress=shown)
ask.map(["a"], progress=print)


# A journal, a stop, a summary


def key_of(prompt: str) -> tuple[str, int]:
    return prompt, len(prompt)


async def kept(path: Path) -> None:
    assert_type(ask.map(["a"], resume="answers.jsonl"), list[int])
    assert_type(ask.map(["a"], resume=path, version=2, durable=True, key=key_of), list[int])
    assert_type(
        await aask.amap(["a"], resume=path, encode=str, decode=int, return_exceptions=True), list[int | BaseException]
    )
    results = ask.imap(["a"], resume=path, version="b")
    assert_type(results, Results[int])
    assert_type(results.stop(), None)
    assert_type(results.summary, Summary)
    assert_type(results.summary.slowest, tuple[tuple[int, float], ...])
    assert_type(ask.as_completed(["a"], resume=path), Results[Outcome[int]])
    options: JournalOptions = {"version": 3, "durable": False}
    assert_type(ask.map(["a"], resume=path, **options), list[int])
