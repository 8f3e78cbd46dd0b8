"""Seven random numbers explained with the OpenAI client, printed in the order in which they were drawn.

    python examples/random_numbers_openai.py
    python examples/random_numbers_openai.py --model gpt-5-mini --api-key-env OPENAI_API_KEY

With seven calls at once it takes as long as the slowest of them; so do the flashcards from the chunks of
a text. Draw seven hundred, and there are still seven calls at once.
"""

import asyncio
import random

from _endpoint import endpoint, stopwatch
from openai import AsyncOpenAI

from fanmap import parallel_map

DRAWS = 7

there = endpoint("openai", __doc__)
client = AsyncOpenAI(base_url=there.base_url, api_key=there.api_key, max_retries=0)


@parallel_map(max_concurrency=7)  # the change
@stopwatch.call
async def explain(number):
    completion = await client.chat.completions.create(
        model=there.model,
        messages=[{"role": "user", "content": f"What is special about the number {number}?"}],
    )
    return completion.choices[0].message.content


async def main():
    numbers = [random.randint(0, 100) for _ in range(DRAWS)]
    async with client:
        with stopwatch:
            answers = await explain.amap(numbers)  # was: asyncio.gather(*(explain(n) for n in numbers))
    for number, answer in zip(numbers, answers, strict=True):
        print(f"{number}: {answer}")


if __name__ == "__main__":
    asyncio.run(main())
