# What the README's blocks take for granted: each begins with these names. The server is simulated, and the
# environment already names it (see run_blocks.py).
import openai

from fanmap import parallel_map

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
