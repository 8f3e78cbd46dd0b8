# What the README's blocks take for granted: clients, prompts, an async function. The server is simulated.
import asyncio  # noqa: F401
import atexit

import anthropic  # noqa: F401
import openai

from fanmap import parallel_map
from fanmap.testing import serve

server = serve(latency=0.002, seed=1)
atexit.register(server.close)
client = openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0)
aclient = openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0)
prompts = [f"prompt {number}" for number in range(6)]


async def summarise(text: str) -> str:
    client = openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0)
    async with client:
        return (await client.responses.create(model="small", input=text)).output_text


@parallel_map
def shaky(prompt: str) -> str:
    if prompt == prompts[3]:
        raise ValueError("no answer")
    return "fine"
