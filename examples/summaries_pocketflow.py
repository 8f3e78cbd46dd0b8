"""Summaries of many texts with PocketFlow, joined at the end.

    python examples/summaries_pocketflow.py
    python examples/summaries_pocketflow.py --model gpt-5-mini --api-key-env OPENAI_API_KEY

`AsyncParallelBatchNode` starts one call a text, all at once, and leaves "a semaphore or sleep intervals"
to its reader. The decorator is both: so many at once, and no more often than the server bears. The texts
here introduce some modules of the standard library.
"""

import asyncio
import importlib
import inspect

from _endpoint import endpoint, stopwatch
from openai import AsyncOpenAI
from pocketflow import AsyncParallelBatchNode

from fanmap import parallel_map

MODULES = [
    *("argparse", "bisect", "calendar", "collections", "csv", "difflib", "fractions", "functools"),
    *("getopt", "heapq", "json", "logging", "mailbox", "pickle", "queue", "random"),
    *("sched", "shelve", "shlex", "statistics", "string", "textwrap", "tarfile", "zipfile"),
]

there = endpoint("openai", __doc__)
client = AsyncOpenAI(base_url=there.base_url, api_key=there.api_key, max_retries=0)


@stopwatch.call
async def call_llm(prompt: str) -> str:
    completion = await client.chat.completions.create(model=there.model, messages=[{"role": "user", "content": prompt}])
    return completion.choices[0].message.content


class Summarize(AsyncParallelBatchNode):
    async def prep_async(self, shared):
        return shared["texts"]

    @parallel_map(max_concurrency=8)  # the only change; rpm=60 would be kept to as well
    async def exec_async(self, text):
        return await call_llm(f"Summarize in one sentence: {text}")

    async def post_async(self, shared, prep_res, exec_res):
        shared["summary"] = "\n".join(exec_res)


def introduction(module):
    """The first paragraph of its docstring."""
    return " ".join(inspect.getdoc(importlib.import_module(module)).partition("\n\n")[0].split())


async def main():
    shared = {"texts": [introduction(module) for module in MODULES]}
    async with client:
        with stopwatch:
            await Summarize().run_async(shared)
    print(shared["summary"])


if __name__ == "__main__":
    asyncio.run(main())
