"""The ways of the demo: what stands in `line` is what the function below it does.

A way gives one result a language, in order: the translation, or the exception that lost it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from fanmap import gather_bounded, parallel_map
from fanmap._demo.files import LANGUAGES
from fanmap._demo.job import Job

Results = list[str | BaseException]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to translate into all languages.

    Attributes:
        number: as it is called in the demo.
        title: what it is, in a line.
        name: the same in a few words, for the table.
        line: the user's line.
        run: does it.
        at_once: calls that can be under way together.
        server_allows: what the simulated server is set to; None: no limit.
        anywhere: makes sense with an endpoint that is not ours.
        ours: it is fanmap's, so none may be lost.
    """

    number: str
    title: str
    name: str
    line: str
    run: Callable[[Job], Results]
    at_once: int = 8
    server_allows: int | None = None
    anywhere: bool = True
    ours: bool = True


def _one_after_the_other(job: Job) -> Results:
    results: Results = []
    with job.sync_client() as client, tqdm(LANGUAGES, "translate", unit="call", disable=not job.bars) as languages:
        translate = job.with_sync(client)
        for language in languages:
            job.show(f" {language}" if results else f"   {language}")
            try:
                results.append(translate(language))
            except Exception as error:
                if not results:  # the first request of all: more likely the wrong address than bad luck
                    raise
                results.append(error)
    job.show("\n")
    return results


def _map(job: Job) -> Results:
    with job.sync_client() as client:
        translate = parallel_map(job.with_sync(client))
        return translate.map(LANGUAGES, return_exceptions=True, progress=job.bars, trace=job.trace)


async def _amap(job: Job) -> Results:
    async with job.async_client() as client:
        translate = parallel_map(job.with_async(client))
        return await translate.amap(LANGUAGES, return_exceptions=True, progress=job.bars, trace=job.trace)


async def _gather_bounded(job: Job) -> Results:
    async with job.anthropic_client() as client:
        translate = job.with_anthropic(client)
        return await gather_bounded(*map(translate, LANGUAGES), return_exceptions=True, progress=job.bars)


async def _gather(job: Job) -> Results:
    async with job.async_client() as client:
        translate = job.with_async(client)
        return await asyncio.gather(*map(translate, LANGUAGES), return_exceptions=True)


def _run(way: Callable[[Job], Coroutine[Any, Any, Results]]) -> Callable[[Job], Results]:
    return lambda job: asyncio.run(way(job))


WAYS = (
    Way(
        number="1",
        title="one after the other, sync openai client",
        name="one after the other",
        line="[translate(language) for language in languages]",
        run=_one_after_the_other,
        at_once=1,
        ours=False,
    ),
    Way(
        number="2",
        title=".map, sync openai client",
        name=".map, sync client",
        line="translate.map(languages, return_exceptions=True)",
        run=_map,
    ),
    Way(
        number="3",
        title=".amap, async openai client",
        name=".amap, async client",
        line="await translate.amap(languages, return_exceptions=True)",
        run=_run(_amap),
    ),
    Way(
        number="4",
        title="gather_bounded, async anthropic client",
        name="gather_bounded, anthropic",
        line="await gather_bounded(*map(translate, languages), return_exceptions=True)",
        run=_run(_gather_bounded),
        anywhere=False,
    ),
    Way(
        number="5a",
        title="asyncio.gather; the server now allows 4 at once and refuses the rest",
        name="asyncio.gather, 4 allowed",
        line="await asyncio.gather(*map(translate, languages), return_exceptions=True)",
        run=_run(_gather),
        at_once=4,
        server_allows=4,
        anywhere=False,
        ours=False,
    ),
    Way(
        number="5b",
        title=".amap, on the same server",
        name=".amap, 4 allowed",
        line="await translate.amap(languages, return_exceptions=True)",
        run=_run(_amap),
        at_once=4,
        server_allows=4,
        anywhere=False,
    ),
)
