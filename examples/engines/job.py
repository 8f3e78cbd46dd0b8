"""What the engines here run: one function, one client a process, one budget for all processes that import this file.

The client reads OPENAI_API_KEY and OPENAI_BASE_URL. The budget is kept where FANMAP_SHARED says: by default in a
file of this machine, with `FANMAP_SHARED=redis://HOST:6379/0` on a server.
"""

import openai

from fanmap import Limits, parallel_map

client = openai.OpenAI(max_retries=0)
account = Limits(max_concurrency=4, rpm=30_000, shared="engines")


@parallel_map(limits=account)
def ask(prompt: str) -> str:
    return client.responses.create(model="small", input=prompt).output_text
