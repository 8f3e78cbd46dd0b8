"""A README into eight languages with PocketFlow: one long text, one call a language.

    python examples/translate_readme_pocketflow.py
    python examples/translate_readme_pocketflow.py --model claude-haiku-4-5 --api-key-env ANTHROPIC_API_KEY

Writes translations/README_<LANGUAGE>.md. The node is PocketFlow's `AsyncParallelBatchNode`, which starts
everything at once; decorated, it starts eight at a time, and what the server refuses comes again when the
server allows. Add as many languages as you like.
"""

import asyncio
from pathlib import Path

import aiofiles
from _endpoint import endpoint, stopwatch
from anthropic import AsyncAnthropic
from pocketflow import AsyncFlow, AsyncParallelBatchNode

from fanmap import parallel_map

README = Path(__file__).parent.parent / "README.md"
LANGUAGES = ["Chinese", "Spanish", "Japanese", "German", "Russian", "Portuguese", "French", "Korean"]

there = endpoint("anthropic", __doc__)
# max_retries=0: fanmap repeats what is refused, and holds the other calls back meanwhile.
client = AsyncAnthropic(base_url=there.base_url, api_key=there.api_key, max_retries=0)


@stopwatch.call
async def call_llm(prompt: str) -> str:
    message = await client.messages.create(
        model=there.model, max_tokens=8000, messages=[{"role": "user", "content": prompt}]
    )
    return message.content[0].text


class TranslateReadme(AsyncParallelBatchNode):
    async def prep_async(self, shared):
        return [(shared["text"], language) for language in shared["languages"]]

    @parallel_map(max_concurrency=8)  # the only change
    async def exec_async(self, item):
        text, language = item
        prompt = f"Translate this Markdown into {language}. Keep its format and links.\n\nOriginal:\n{text}"
        return {"language": language, "translation": await call_llm(prompt)}

    async def post_async(self, shared, prep_res, exec_res):
        folder = Path(shared["folder"])
        folder.mkdir(exist_ok=True)
        for result in exec_res:
            path = folder / f"README_{result['language'].upper()}.md"
            async with aiofiles.open(path, "w", encoding="utf-8") as file:
                await file.write(result["translation"])
            print(f"{path}: {len(result['translation'])} characters")


async def main():
    shared = {
        "text": README.read_text(encoding="utf-8"),
        "languages": LANGUAGES,
        "folder": "translations",
    }
    async with client:
        with stopwatch:
            await AsyncFlow(start=TranslateReadme()).run_async(shared)


if __name__ == "__main__":
    asyncio.run(main())
