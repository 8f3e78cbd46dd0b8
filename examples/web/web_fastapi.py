"""A web app for people and a job beside them, on one account: streams, a background, and a line with an end.

pip install fanmap fastapi uvicorn openai
OPENAI_API_KEY=... uvicorn web_fastapi:app
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from openai import AsyncOpenAI

from fanmap import Busy, Limits, parallel_map

MODEL = os.environ.get("MODEL", "gpt-5-mini")
account = Limits(max_concurrency=8, max_waiting=16)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with AsyncOpenAI(max_retries=0, timeout=60) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(Busy)
async def busy(request: Request, error: Busy) -> JSONResponse:
    seconds = max(1, math.ceil(error.retry_after))
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(seconds)})


@parallel_map(limits=account)
async def tell(prompt: str) -> AsyncGenerator[str]:
    events = await app.state.client.responses.create(model=MODEL, input=prompt, stream=True)
    async with events:
        async for event in events:
            if event.type == "response.output_text.delta":
                yield event.delta


@parallel_map(limits=account.background)
async def summarise(text: str) -> str:
    return (await app.state.client.responses.create(model=MODEL, input=f"Summarise: {text}")).output_text


@app.get("/tell")
async def interactive(prompt: str) -> StreamingResponse:
    words = tell(prompt)
    first = await anext(words)  # admitted, or Busy, before the status line has gone

    async def whole() -> AsyncGenerator[str]:
        async with aclosing(words):
            yield first
            async for word in words:
                yield word

    return StreamingResponse(whole(), media_type="text/plain")


@app.post("/summaries")
async def batch(texts: list[str]) -> list[str]:
    return await summarise.amap(texts)
