"""A web app on several workers: 4 processes, one budget.

gunicorn web_app:app --workers 4 --worker-class uvicorn_worker.UvicornWorker --bind 127.0.0.1:8000
"""

import openai
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fanmap import Limits, parallel_map

account = Limits(max_concurrency=4, rpm=30_000, shared="engines")


@parallel_map(limits=account)
async def ask(prompt: str) -> str:
    return (await client.responses.create(model="small", input=prompt)).output_text


async def summarise(request: Request) -> JSONResponse:
    prompts = await request.json()
    return JSONResponse({"answers": await ask.amap(prompts), "processes": account.everybody.members})


client = openai.AsyncOpenAI(max_retries=0)
app = Starlette(routes=[Route("/summarise", summarise, methods=["POST"])])
