# What the blocks of README and docs take for granted: a server, clients, prompts. The server is simulated.
import asyncio  # noqa: F401
import atexit
import os

from fanmap import parallel_map
from fanmap.testing import serve

server = serve(latency=0.002, seed=1)
atexit.register(server.close)
os.environ.update(
    OPENAI_BASE_URL=server.openai_url, OPENAI_API_KEY="none",
    ANTHROPIC_BASE_URL=server.anthropic_url, ANTHROPIC_API_KEY="none",
)  # fmt: skip

import openai  # noqa: E402 (its clients read the environment)

client = openai.OpenAI(max_retries=0)
aclient = openai.AsyncOpenAI(max_retries=0)
prompts = [f"prompt {number}" for number in range(6)]


async def summarise(text: str) -> str:
    async with openai.AsyncOpenAI(max_retries=0) as client:
        return (await client.responses.create(model="small", input=text)).output_text


@parallel_map
def shaky(prompt: str) -> str:
    if prompt == prompts[3]:
        raise ValueError("no answer")
    return "fine"
