"""A sub-flow for each of many files with PocketFlow: read it, say what it does, find it a title.

    python examples/subflow_per_file_pocketflow.py
    python examples/subflow_per_file_pocketflow.py --model gpt-5-mini --api-key-env OPENAI_API_KEY

`AsyncParallelBatchFlow` starts one sub-flow a file, all at once. Two of its nodes call the same account,
so they share one `Limits`: together they make at most four calls at once. Each sub-flow keeps to its own
entry of `shared`, because sub-flows that write to one place race. The files are these examples.
"""

import asyncio
from pathlib import Path

from _endpoint import endpoint, stopwatch
from openai import AsyncOpenAI
from pocketflow import AsyncFlow, AsyncNode, AsyncParallelBatchFlow, Node

from fanmap import Limits, parallel_map

FOLDER = Path(__file__).parent

there = endpoint("openai", __doc__)
client = AsyncOpenAI(base_url=there.base_url, api_key=there.api_key, max_retries=0)
account = Limits(max_concurrency=4)  # the only changes: this line,


@stopwatch.call
async def call_llm(prompt: str) -> str:
    completion = await client.chat.completions.create(model=there.model, messages=[{"role": "user", "content": prompt}])
    return completion.choices[0].message.content


class ReadFile(Node):
    def exec(self, _):
        return (FOLDER / self.params["file"]).read_text(encoding="utf-8")

    def post(self, shared, prep_res, exec_res):
        shared[self.params["file"]] = {"text": exec_res}


class Describe(AsyncNode):
    async def prep_async(self, shared):
        return shared[self.params["file"]]["text"]

    @parallel_map(limits=account)  # this one,
    async def exec_async(self, text):
        return await call_llm(f"What does this program do? One sentence, please.\n\n{text}")

    async def post_async(self, shared, prep_res, exec_res):
        shared[self.params["file"]]["description"] = exec_res


class FindTitle(AsyncNode):
    async def prep_async(self, shared):
        return shared[self.params["file"]]["description"]

    @parallel_map(limits=account)  # and this one
    async def exec_async(self, description):
        return await call_llm(f"A title of three words for: {description}")

    async def post_async(self, shared, prep_res, exec_res):
        shared[self.params["file"]]["title"] = exec_res


class EachFile(AsyncParallelBatchFlow):
    async def prep_async(self, shared):
        return [{"file": path.name} for path in sorted(FOLDER.glob("[!_]*.py"))]


async def main():
    read = ReadFile()
    read >> Describe() >> FindTitle()
    shared = {}
    async with client:
        with stopwatch:
            await EachFile(start=AsyncFlow(start=read)).run_async(shared)
    for file, entry in sorted(shared.items()):
        print(f"{file}: {entry['title'].splitlines()[0][:70]}")


if __name__ == "__main__":
    asyncio.run(main())
