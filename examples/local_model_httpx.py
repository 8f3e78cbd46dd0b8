"""Five prompts to a local model with httpx and asyncio, before and after.

    python examples/local_model_httpx.py
    python examples/local_model_httpx.py --model llama3.2          (Ollama on port 11434)
    python examples/local_model_httpx.py --base-url http://localhost:8000/v1 --model NAME

Before: a client and a connection a call, everything at once, and "exponential backoff to handle
TooManyRequests" is left to the reader. After: one client, eight calls at once, and what the server
refuses comes again when the server allows.
"""

import asyncio

import httpx
from _endpoint import endpoint, stopwatch

from fanmap import parallel_map

PROMPTS = [
    "Why is the sky blue?",
    "Who was Ada Lovelace?",
    "What is a monad, for a cook?",
    "How does bread rise?",
    "Name three uses of a heap.",
]

there = endpoint("ollama", __doc__)
key = {"Authorization": f"Bearer {there.api_key}"}


async def post(client, prompt):
    body = {"model": there.model, "messages": [{"role": "user", "content": prompt}]}
    return await client.post(f"{there.base_url}/chat/completions", headers=key, json=body, timeout=30)


# Before


@stopwatch.call
async def ask_with_a_new_client(prompt):
    async with httpx.AsyncClient() as client:
        response = await post(client, prompt)
    response.raise_for_status()
    return response.json()["choices"][0]["message"]["content"]


async def before():
    return await asyncio.gather(*(ask_with_a_new_client(prompt) for prompt in PROMPTS))


# After


client = httpx.AsyncClient()  # one for all calls


@parallel_map  # the change
@stopwatch.call
async def ask(prompt):
    response = await post(client, prompt)
    response.raise_for_status()
    return response.json()["choices"][0]["message"]["content"]


async def after():
    async with client:
        return await ask.amap(PROMPTS)


async def main():
    for way in (before, after):
        print(f"{way.__name__}:")
        with stopwatch:
            answers = await way()
        for prompt, answer in zip(PROMPTS, answers, strict=True):
            print(f"  {prompt} -> {answer}")


if __name__ == "__main__":
    asyncio.run(main())
